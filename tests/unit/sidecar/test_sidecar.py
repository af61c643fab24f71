"""The composition: who is the instance, what is told when it is ready, and the order of the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mesh.dataplane import loop
from mesh.sidecar import sidecar as module
from mesh.sidecar.config import load
from mesh.sidecar.sidecar import Sidecar
from mesh.sidecar.sockets import Sockets
from mesh.telemetry.settings import telemetry_settings


def run(tmp_path: Path, test: Callable[[Sidecar], Awaitable[None]], *flags: str, worker: int = 0) -> None:
    async def main() -> None:
        config = load(["--service", "web", "--control-plane", "127.0.0.1:1", "--state-dir", str(tmp_path),
                       "--drain-timeout", "1s", *flags], {})
        sidecar = Sidecar(config, telemetry_settings({}, (("127.0.0.1", 1),)), Sockets.bind(config), worker)
        async with asyncio.timeout(10):
            await test(sidecar)

    loop.run(main())


def test_the_first_worker_alone_is_the_instance(tmp_path: Path) -> None:
    async def first(sidecar: Sidecar) -> None:
        assert sidecar.id == "web/web-0"
        assert sidecar.presence is not None
        await sidecar.drain()

    async def second(sidecar: Sidecar) -> None:
        assert sidecar.id == "web/web-0/1"
        assert sidecar.inbound is not None
        assert sidecar.presence is None
        sidecar.contest()
        sidecar.settle()
        await sidecar.succeed()
        await sidecar.leave(deregister=True)
        await sidecar.drain()

    run(tmp_path, first, "--app", "1")
    run(tmp_path, second, "--app", "1", worker=1)


def test_the_ready_event_and_the_statistics_name_every_address(tmp_path: Path) -> None:
    async def test(sidecar: Sidecar) -> None:
        event = sidecar.ready_event()
        assert event["event"] == "ready"
        assert event["inbound"] == str(sidecar.inbound.door if sidecar.inbound else None)
        assert set(event["outbound"]) == {"cart"}
        assert event["outbound_shared"].startswith("127.0.0.1:")
        statistics = sidecar.statistics()
        assert [each["address"] for each in statistics["outbound"]] == [event["outbound"]["cart"],
                                                                       event["outbound_shared"]]
        assert statistics["spans"]["exported"] == 0
        await sidecar.drain()

    run(tmp_path, test, "--app", "1", "--outbound", "cart=0", "--outbound-shared", "0")


def test_a_service_that_nobody_knows_is_waited_for_only_so_long(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "_FIRST_STATE", 0.01)

    async def test(sidecar: Sidecar) -> None:
        await sidecar.start()
        await sidecar.drain()

    run(tmp_path, test, "--outbound", "cart=0")
    assert "nothing is known yet of cart: is the control plane up at 127.0.0.1:1?" in caplog.text


def test_callers_hear_of_it_before_the_port_closes(tmp_path: Path) -> None:
    async def test(sidecar: Sidecar) -> None:
        said: list[bool] = []
        assert sidecar.inbound is not None
        address = sidecar.inbound.door.address

        class Registered:
            async def leave(self, deregister: bool) -> bool:
                said.append(deregister)
                return True

        presence: Any = Registered()
        sidecar.presence = presence
        sidecar.doors.start()
        leaving = asyncio.gather(sidecar.leave(deregister=True), sidecar.leave(deregister=True))
        await asyncio.sleep(0.05)
        assert not leaving.done()
        _, writer = await asyncio.open_connection(*address)
        writer.close()
        await leaving
        assert said == [True]
        await asyncio.gather(sidecar.drain_inbound(), sidecar.drain_inbound())
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        await sidecar.drain()
        assert said == [True]

    run(tmp_path, test, "--app", "1")


def test_what_is_asked_for_is_there_and_nothing_else(tmp_path: Path) -> None:
    async def bare(sidecar: Sidecar) -> None:
        assert (sidecar.access_log, sidecar.tallies, sidecar.admin_door) == (None, None, None)
        assert sidecar.ready_event()["admin"] is None
        await sidecar.drain()

    async def full(sidecar: Sidecar) -> None:
        async def health() -> tuple[bytes, bytes]:
            reader, writer = await asyncio.open_connection(*sidecar.admin_door.address)
            writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            return head.split()[1], body

        assert sidecar.admin_door is not None
        sidecar.doors.start()
        assert await health() == (b"503", b"starting\n")
        assert sidecar.ready_event()["admin"] == str(sidecar.admin_door)
        assert await health() == (b"200", b"ok\n")
        statistics = sidecar.statistics()
        assert statistics["access_log"] == {"written": 0, "dropped": 0, "waiting": 0}
        assert statistics["traffic"] == {"outbound": {}, "inbound": {}}
        draining = asyncio.ensure_future(sidecar.drain())
        await asyncio.sleep(0)
        assert sidecar.phase == "draining"
        await draining
        assert not sidecar.admin_door.open

    run(tmp_path, bare)
    run(tmp_path, full, "--access-log", str(tmp_path / "log"), "--admin", "0", "--outbound", "cart=0")
    assert (tmp_path / "log").exists() is False, "made when there is a first line"


def test_the_process_that_takes_over_is_asked_from_then_on(tmp_path: Path) -> None:
    async def test(sidecar: Sidecar) -> None:
        assert sidecar.admin_door is not None
        sidecar.doors.start()
        await sidecar.leave(deregister=False)
        assert not sidecar.admin_door.open
        await sidecar.drain()

    run(tmp_path, test, "--admin", "0")
