"""What a shell owes its codec: octets held back, half-close, close and reset told apart, nothing left behind.

The codec is a script, so that each duty is seen alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import h2_world
import pytest
from h2_world import listening, until
from tcp_world import read_all, reset, run
from test_exchange import cart, echo
from test_transport import request_bytes

from mesh.balance.rng import Rng
from mesh.dataplane.hub import Hub
from mesh.dataplane.listener import Port
from mesh.dataplane.reactor import INCOMING, Probe
from mesh.dataplane.record import Recorder
from mesh.dataplane.transport import Transport, TransportHandler
from mesh.wire.codec import Codec
from mesh.wire.errors import ConnectionError_

STAYS, CLOSES, ABORTS = range(3)


class Script(Codec):
    """Takes octets while `takes`, at most `bite` at a time; `on_octets` is called with each lot."""

    def __init__(self, hub: Hub) -> None:
        Codec.__init__(self, False, TransportHandler(), hub.dirty, False)
        self.hub = hub
        self.takes = True
        self.bite = 1 << 30
        self.stays_at_eof = False
        self.taken = bytearray()
        self.eofs = 0
        self.on_octets: Callable[[], None] | None = None

    def reading(self) -> bool:
        return self.takes

    def receive(self, buf: bytearray, n: int) -> int:
        used = min(n, self.bite)
        self.taken += buf[:used]
        if self.on_octets is not None:
            self.on_octets()
        return used

    def receive_eof(self) -> bool:
        self.eofs += 1
        return self.stays_at_eof

    def say(self, octets: bytes) -> None:
        """Queue output; the end of the batch, or `Hub.flush`, sends it."""
        self.out = self.out[:self.out_len] + octets
        self.out_len = len(self.out)
        self.look()

    def look(self) -> None:
        """As `Output.attend`."""
        self.hub.dirty.append(self)


class World:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.hub = Hub(self.loop, Rng(1), Recorder())
        self.shells: list[Transport] = []
        self.prepare: Callable[[Script], None] = lambda script: None
        self.port = Port(self.hub, listening(), self.accept)
        self.port.start()

    def accept(self, fd: int, host: str, port: int) -> None:
        script = Script(self.hub)
        self.prepare(script)
        self.shells.append(Transport(script, TransportHandler(), self.hub))
        self.shells[-1].adopt(fd, host, port)

    async def connect(self) -> tuple[socket.socket, Transport, Any]:
        count = len(self.shells)
        client = socket.create_connection(self.port.address)
        client.setblocking(False)
        await until(lambda: len(self.shells) > count, "a connection")
        return client, self.shells[-1], self.shells[-1].conn

    async def fill(self, client: socket.socket, limit: int = 64 << 20) -> int:
        """Send until neither the kernel nor anybody else takes more; how much that was."""
        sent = 0
        idle = 0
        while idle < 5 and sent < limit:
            try:
                sent += client.send(bytes(65_536))
                idle = 0
            except BlockingIOError:
                idle += 1
            await asyncio.sleep(0.001)
        return sent


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    try:
        yield made
        await until(lambda: (made.hub.transports, made.hub.lingering) == (0, 0), "the end of all connections")
        assert made.hub.watched == 1, "the port alone"
        assert made.hub.timers.armed == 0
        assert all(shell.closed and shell.fd == -1 for shell in made.shells)
    finally:
        made.port.close()


def go(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run(main())  # and no descriptor may be left


def test_while_a_codec_takes_nothing_octets_stay_in_the_kernel() -> None:
    async def main() -> None:
        async with world() as w:
            client, _, script = await w.connect()
            script.takes = False
            sent = await w.fill(client)
            assert sent < 64 << 20, "the sender was never held back"
            assert script.taken == b""
            script.takes = True
            script.look()
            w.hub.flush()
            await until(lambda: len(script.taken) == sent, "all octets")
            client.close()

    go(main)


def test_what_a_codec_left_is_offered_again_when_it_asks() -> None:
    async def main() -> None:
        async with world() as w:
            client, _, script = await w.connect()
            script.bite = 2

            def one_at_a_time() -> None:
                script.takes = False

            script.on_octets = one_at_a_time
            client.send(b"aabbccd")
            await until(lambda: script.taken == b"aa")
            for expected in (b"aabb", b"aabbcc", b"aabbccd"):
                assert script.taken == expected[:len(script.taken)]
                script.takes = True
                script.look()
                w.hub.flush()
                assert script.taken == expected
            client.close()
            script.takes = True
            script.look()
            w.hub.flush()

    go(main)


@pytest.mark.parametrize("takes", [True, False])
def test_a_reset_is_heard_whether_something_is_read_or_not(takes: bool) -> None:
    async def main() -> None:
        async with world() as w:
            client, shell, script = await w.connect()
            script.takes = takes
            client.send(b"x")
            await until(lambda: not takes or script.taken)
            reset(client)
            await until(lambda: shell.closed, "the loss")

    go(main)


def test_the_end_comes_after_the_last_octet_though_the_peer_still_sends() -> None:
    async def main() -> None:
        async with world() as w:
            client, _, script = await w.connect()
            script.takes = False
            client.send(bytes(200_000))  # unread: closing at once would answer with RST, which destroys what is below
            script.say(b"answer" * 50_000)
            script.ending = CLOSES
            w.hub.flush()
            assert await read_all(client) == b"answer" * 50_000
            await until(lambda: w.hub.transports == 0, "the end of the connection")
            client.close()

    go(main)


def test_an_error_of_the_peers_is_answered_and_the_answer_arrives() -> None:
    async def main() -> None:
        async with world() as w:
            client, shell, script = await w.connect()

            def refuse() -> None:
                script.say(b"what you sent is wrong")
                raise ConnectionError_(1, "wrong")

            script.on_octets = refuse
            client.send(bytes(150_000))
            assert await read_all(client) == b"what you sent is wrong"
            assert shell.failed
            client.close()

    go(main)


def test_an_abort_is_a_reset() -> None:
    async def main() -> None:
        async with world() as w:
            client, _, script = await w.connect()
            script.say(b"part of a")
            w.hub.flush()
            assert await w.loop.sock_recv(client, 100) == b"part of a"
            script.ending = ABORTS
            script.look()
            w.hub.flush()
            with pytest.raises(ConnectionResetError):
                await w.loop.sock_recv(client, 100)
            client.close()

    go(main)


def test_after_the_peers_end_there_may_be_more_to_say() -> None:
    async def main() -> None:
        async with world() as w:
            client, shell, script = await w.connect()
            script.stays_at_eof = True
            client.send(b"question")
            client.shutdown(socket.SHUT_WR)
            await until(lambda: script.eofs)
            assert not shell.closing
            script.say(b"answer")
            script.ending = CLOSES
            w.hub.flush()
            assert await read_all(client) == b"answer"
            assert script.eofs == 1
            client.close()

    go(main)


def test_the_peers_end_is_the_end_otherwise() -> None:
    async def main() -> None:
        async with world() as w:
            client, shell, script = await w.connect()
            script.say(b"last words")
            client.shutdown(socket.SHUT_WR)
            assert await read_all(client) == b"last words"
            await until(lambda: shell.closed)
            client.close()

    go(main)


def test_who_does_not_end_after_us_is_waited_for_so_long_and_no_longer() -> None:
    async def main() -> None:
        async with world() as w:
            silent, _, script = await w.connect()
            script.ending = CLOSES
            script.look()
            w.hub.flush()
            assert await read_all(silent) == b""
            await until(lambda: w.hub.transports == 0)
            assert w.hub.lingering == 1
            w.hub.timers.advance(w.hub.now + 2.1)
            assert w.hub.lingering == 0
            silent.close()

    go(main)


def test_who_goes_on_sending_after_our_end_is_cut_off() -> None:
    async def main() -> None:
        async with world() as w:
            client, _, script = await w.connect()
            script.ending = CLOSES
            script.look()
            w.hub.flush()
            sent = 0

            async def flood() -> None:
                nonlocal sent
                while sent < 64 << 20:
                    await w.loop.sock_sendall(client, bytes(65_536))
                    sent += 65_536
                    await asyncio.sleep(0)

            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await flood()
            assert sent < 16 << 20
            client.close()

    go(main)


def test_who_does_not_take_our_last_output_is_given_up() -> None:
    async def main() -> None:
        async with world() as w:
            client, shell, script = await w.connect()
            script.say(bytes(16 << 20))
            w.hub.flush()
            assert shell.paused
            shell.close()
            assert not shell.closed
            w.hub.timers.advance(w.hub.now + 31)
            await until(lambda: shell.closed)
            client.close()

    go(main)


def test_refused_output_goes_out_whole_when_the_kernel_takes_it() -> None:
    async def main() -> None:
        async with world() as w:
            client, shell, script = await w.connect()
            sent = os.urandom(12 << 20)
            script.say(sent)
            w.hub.flush()
            assert shell.paused
            script.say(b"and this, which came while nothing could be sent")
            script.ending = CLOSES
            w.hub.flush()
            assert await read_all(client) == sent + b"and this, which came while nothing could be sent"
            client.close()

    go(main)


def test_who_floods_without_reading_is_cut_off() -> None:
    async def main() -> None:
        async with world() as w:
            client, shell, script = await w.connect()
            script.on_octets = lambda: script.say(bytes(65_536))  # as acknowledgements would
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                for _ in range(10_000):
                    await w.loop.sock_sendall(client, bytes(1000))
                    await asyncio.sleep(0)
            await until(lambda: shell.closed, "the end of a flood")
            assert len(script.out) < 32 << 20
            client.close()

    go(main)


def test_a_descriptor_that_was_peeked_at_is_adopted_with_what_it_holds() -> None:
    async def main() -> None:
        async with world() as w:
            masks: list[int] = []
            probe = Probe(masks.append)
            taken: list[int] = []
            port = Port(w.hub, listening(), lambda fd, host, port: taken.append(fd))
            port.start()
            client = socket.create_connection(port.address)
            client.send(b"first octets")
            await until(lambda: taken)
            w.hub.add(probe, taken[0], INCOMING)
            await until(lambda: masks)
            w.accept(w.hub.release(probe), "127.0.0.1", 1)
            script: Any = w.shells[-1].conn
            await until(lambda: script.taken == b"first octets")
            client.close()
            port.close()

    go(main)


def test_connecting_by_address_by_name_and_in_vain() -> None:
    async def main() -> None:
        async with world() as w:
            async def to(host: str, port: int) -> Transport:
                shell = Transport(Script(w.hub), TransportHandler(), w.hub)
                await shell.connect(host, port)
                return shell

            host, port = w.port.address
            for name in (host, "localhost"):
                shell = await to(name, port)
                assert (shell.peer_host, shell.peer_port) == (host, port)
                shell.close()
            with socket.socket() as bound:
                bound.bind((host, 0))
                with pytest.raises(ConnectionRefusedError):
                    await to(host, bound.getsockname()[1])
            with pytest.raises(socket.gaierror):
                await to("no-such-host.invalid", port)
            full = socket.create_server((host, 0), backlog=0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            waiting = w.loop.create_task(to(host, full.getsockname()[1]))
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            for sock in (full, *fillers):
                sock.close()

    go(main)


STATES: dict[str, Callable[[World, socket.socket, Any], object]] = {
    "silent": lambda w, client, script: None,
    "half": lambda w, client, script: (setattr(script, "bite", 1), client.send(b"half")),
    "held": lambda w, client, script: (setattr(script, "takes", False), client.send(bytes(100_000))),
    "paused": lambda w, client, script: script.say(bytes(16 << 20)),
    "paused and held": lambda w, client, script: (setattr(script, "takes", False), client.send(bytes(9)),
                                                  script.say(bytes(16 << 20))),
    "paused at its end": lambda w, client, script: (script.say(bytes(16 << 20)), setattr(script, "ending", CLOSES)),
    "ended": lambda w, client, script: (setattr(script, "stays_at_eof", True), client.shutdown(socket.SHUT_WR)),
    "lingering": lambda w, client, script: (setattr(script, "ending", CLOSES), script.look()),
    "aborted": lambda w, client, script: (setattr(script, "ending", ABORTS), script.look()),
}


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("state", STATES)
def test_a_peer_that_goes_in_any_state_leaves_nothing(state: str, how: str) -> None:
    async def main() -> None:
        async with world() as w:
            for wait in (False, True):
                client, _, script = await w.connect()
                STATES[state](w, client, script)
                w.hub.flush()
                if wait:
                    await asyncio.sleep(0.005)
                if how == "reset":
                    reset(client)
                else:
                    client.close()
                if how == "close":  # who takes nothing hears of no end; who is half closed has the last word
                    await asyncio.sleep(0.005)
                    script.takes = True
                    script.ending = script.ending or CLOSES
                    script.look()
                    w.hub.flush()

    go(main)


@pytest.mark.slow
def test_a_million_writes_of_one_octet() -> None:
    async def main() -> None:
        async with world() as w:
            client, _, script = await w.connect()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sent = random.Random(1).randbytes(1_000_000)
            at = 0
            while at < len(sent):
                try:
                    for at in range(at, min(at + 5000, len(sent))):  # noqa: B020  `at` is what goes next
                        client.send(sent[at:at + 1])
                    at += 1
                except BlockingIOError:
                    pass
                await asyncio.sleep(0)
            await until(lambda: len(script.taken) == len(sent), "all octets")
            assert script.taken == sent
            client.close()

    go(main)


def test_24_octets_of_anything() -> None:
    async def main() -> None:
        rng = random.Random(24)
        async with h2_world.world(echo, service=cart()) as w:
            opening = request_bytes()
            for number in range(300):
                octets = rng.randbytes(24)
                if number % 3 == 1:
                    octets = opening[:24 + rng.randrange(40)] + octets
                elif number % 3 == 2:
                    cut = rng.randrange(len(opening))
                    octets = opening[:cut] + octets + opening[cut + 24:]
                client = socket.create_connection(w.port.address)
                client.send(octets)
                await asyncio.sleep(0)
                (reset if number % 2 else socket.socket.close)(client)
            await until(lambda: (w.hub.transports - sum(len(node.pool.ready) for node in w.cluster.nodes.nodes
                                                         if node.pool is not None), w.hub.lingering) == (0, 0),
                        "the end of all callers")
            await until(w.idle, "the end of all requests")

    go(main)
