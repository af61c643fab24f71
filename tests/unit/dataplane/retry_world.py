"""Endpoints that fail in every way, and what a request has to say of its attempts."""

from __future__ import annotations

import asyncio
from typing import Any

from h2_world import Call, Upstream, World, until

from mesh.dataplane.record import RETRY


def fail(status: int) -> Any:
    return lambda call: call.send_headers([(":status", str(status)), ("content-length", "0")], end=True)


def asks(status: int, *fields: tuple[str, str]) -> Any:
    """An answer without a body, in HTTP's way, with these fields."""
    return lambda call: call.send_headers([(":status", str(status)), *fields], end=True)


def well(call: Call) -> None:
    call.send_headers([(":status", "200")], end=True)


def counting(call: Call) -> None:
    """Answers the size of the request when it has ended."""
    async def answer() -> None:
        await until(lambda: call.ended)
        call.answer(b"%d" % len(call.body))

    asyncio.get_running_loop().create_task(answer())


class Silent(asyncio.Protocol):
    """Accepts and says nothing."""

    def __init__(self, made: list[Any]) -> None:
        self.made = made

    def connection_made(self, transport: Any) -> None:
        self.made.append(transport)


class SilentUpstream(Upstream):
    def __init__(self) -> None:
        Upstream.__init__(self)
        self.made: list[Any] = []

    def _accept(self) -> Any:
        return Silent(self.made)

    def close(self) -> None:
        Upstream.close(self)
        for transport in self.made:
            transport.close()


def failures(w: World) -> dict[str, int]:
    return {node.endpoint.name: node.consecutive_failures for node in w.cluster.nodes.nodes}


def events(w: World) -> list[tuple[str, str]]:
    """Name and outcome of each event of the request's record; one request only."""
    [whole] = [record for record in w.records() if record.kind != RETRY]
    return [(name, attributes.get("mesh.hedge") or attributes["mesh.retry"])
            for _, name, attributes in whole.events or ()]
