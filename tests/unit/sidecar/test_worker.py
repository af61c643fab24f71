"""A worker does what its parent says: the test is the parent."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mesh.sidecar.config import load
from mesh.sidecar.sockets import Sockets
from mesh.sidecar.worker import Worker
from mesh.telemetry.settings import telemetry_settings
from mesh.wire.frames import PREFACE


class Parent:
    def __init__(self, folder: Path, number: int, held: bool = False) -> None:
        config = load(["--service", "web", "--workers", "2", "--outbound-shared", "0", "--control-plane", "127.0.0.1:1",
                       "--state-dir", str(folder), "--drain-timeout", "1s"], {})
        self.sockets = Sockets.bind(config, 2)
        self.address = self.sockets["outbound-shared"][0].getsockname()
        self.other = [(name, sock.dup()) for name, sock in self.sockets.slot(1 - number)]
        self.sockets.keep(number, 2)
        self.sock, theirs = socket.socketpair()
        telemetry = telemetry_settings({"OTEL_SDK_DISABLED": "true"}, ())
        worker = Worker(config, telemetry, self.sockets, number, theirs, held, succeeding=False)
        self.task = asyncio.ensure_future(worker.run())
        self.lines = b""
        self.sock.setblocking(False)

    async def hears(self, event: str) -> dict[str, Any]:
        async with asyncio.timeout(5):
            while b"\n" not in self.lines:
                self.lines += await asyncio.get_running_loop().sock_recv(self.sock, 65_536)
        line, _, self.lines = self.lines.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        assert message["event"] == event
        return message

    def says(self, do: str, **more: Any) -> None:
        self.sock.sendall(json.dumps({"do": do, **more}).encode() + b"\n")

    async def end(self) -> int:
        async with asyncio.timeout(5):
            return await self.task

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address)

    def close(self) -> None:
        self.sock.close()
        for _, sock in self.other:
            sock.close()


def test_a_worker_that_is_held_accepts_when_it_is_told_to(tmp_path: Path) -> None:
    async def main() -> None:
        parent = Parent(tmp_path, 1, held=True)
        await parent.hears("prepared")
        for _, sock in parent.other:
            sock.close()  # only its own are left
        reader, writer = await parent.open()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)  # nobody speaks: it waits in the backlog
        parent.says("accept")
        ready = await parent.hears("ready")
        assert ready["outbound_shared"] == "{}:{}".format(*parent.address)
        writer.write(PREFACE)
        assert await asyncio.wait_for(reader.read(1), 5)  # HTTP/2: the server's SETTINGS
        writer.close()
        parent.says("statistics")
        statistics = (await parent.hears("statistics"))["statistics"]
        assert statistics["id"] == "web/web-0/1"
        parent.says("drain")
        assert await parent.end() == 0
        with pytest.raises(OSError, match="refused"):
            await parent.open()
        parent.close()

    uvloop.run(main())


def test_a_worker_accepts_for_its_neighbour_until_that_is_back(tmp_path: Path) -> None:
    async def main() -> None:
        parent = Parent(tmp_path, 0)
        await parent.hears("prepared")
        await parent.hears("ready")
        socket.send_fds(parent.sock, [json.dumps({"do": "lend", "slot": 1, "sockets": [name for name, _ in parent.other]
                                                  }).encode() + b"\n"], [sock.fileno() for _, sock in parent.other])
        opened = [await parent.open() for _ in range(32)]
        for _, writer in opened:
            writer.write(PREFACE)
        for reader, writer in opened:
            assert await asyncio.wait_for(reader.read(1), 5)
            writer.close()
        parent.says("take back", slot=1)
        parent.says("leave", deregister=True)
        await parent.hears("left")
        parent.says("drain inbound")
        await parent.hears("inbound drained")
        parent.says("contest")
        parent.says("settle")  # nothing to it: there is no app
        parent.says("drain")
        assert await parent.end() == 0
        parent.close()

    uvloop.run(main())


@pytest.mark.parametrize("held", [False, True])
def test_a_worker_does_not_outlive_its_parent(tmp_path: Path, held: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        parent = Parent(tmp_path, 0, held)
        await parent.hears("prepared")
        parent.close()
        assert await parent.end() == 0

    uvloop.run(main())
    assert "the parent of the workers is gone" in caplog.text
