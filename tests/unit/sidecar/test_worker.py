"""A worker does what its parent says: the test is the parent."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from mesh.dataplane import loop
from mesh.sidecar.config import load
from mesh.sidecar.sockets import Sockets
from mesh.sidecar.worker import Worker
from mesh.telemetry.settings import telemetry_settings
from mesh.wire.frames import PREFACE


class Parent:
    def __init__(self, folder: Path, number: int, held: bool = False, *flags: str) -> None:
        config = load(["--service", "web", "--workers", "2", "--outbound-shared", "0", "--control-plane", "127.0.0.1:1",
                       "--state-dir", str(folder), "--drain-timeout", "1s", *flags], {})
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
        with pytest.raises(ConnectionRefusedError):
            await parent.open()
        parent.close()

    loop.run(main())


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

    loop.run(main())


@pytest.mark.parametrize("held", [False, True])
def test_a_worker_does_not_outlive_its_parent(tmp_path: Path, held: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        parent = Parent(tmp_path, 0, held)
        await parent.hears("prepared")
        parent.close()
        assert await parent.end() == 0

    loop.run(main())
    assert "the parent of the workers is gone" in caplog.text


def test_whoever_asks_a_worker_is_told_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent collects; one that doesn't answer is not waited for."""
    async def main() -> None:
        parent = Parent(tmp_path, 0, False, "--admin", "0")
        await parent.hears("prepared")
        ready = await parent.hears("ready")
        host, _, port = ready["admin"].rpartition(":")
        for sock in (sock for name, sock in parent.other if name == "admin"):
            sock.close()  # its neighbour's, to which the kernel would bring some of the connections

        async def ask(target: str) -> bytes:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET {target} HTTP/1.1\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return answer.partition(b"\r\n\r\n")[2]

        asked = asyncio.ensure_future(ask("/statistics"))
        await parent.hears("gather")
        parent.says("gathered", statistics=[{"transports": 1}, {"transports": 2}])
        assert json.loads(await asked)["transports"] == 3
        assert await ask("/healthz") == b"ok\n"
        monkeypatch.setattr("mesh.sidecar.worker._GATHERED_WITHIN", 0.01)
        assert json.loads(await ask("/statistics"))["id"] == "web/web-0"
        await parent.hears("gather")
        parent.says("gathered", statistics=[])  # too late, and no harm
        parent.says("drain")
        assert await parent.end() == 0
        parent.close()

    loop.run(main())
