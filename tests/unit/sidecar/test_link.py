"""Messages in order and whole, with the sockets that belong to them, however slowly the other side reads."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from typing import Any

from mesh.sidecar.link import Link
from mesh.sidecar.sockets import Named


class Loop:
    """Turns are taken by the test."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], object]] = {}
        self.writers: dict[int, Callable[[], object]] = {}

    def add_reader(self, fd: int, callback: Callable[..., object], /, *args: Any) -> None:
        self.readers[fd] = lambda: callback(*args)

    def remove_reader(self, fd: int, /) -> None:
        self.readers.pop(fd, None)

    def add_writer(self, fd: int, callback: Callable[..., object], /, *args: Any) -> None:
        self.writers[fd] = lambda: callback(*args)

    def remove_writer(self, fd: int, /) -> None:
        self.writers.pop(fd, None)

    def turn(self) -> bool:
        readable, writable, _ = select.select(list(self.readers), list(self.writers), [], 0)
        for fd in readable:
            self.readers[fd]()
        for fd in writable:
            if fd in self.writers:
                self.writers[fd]()
        return bool(readable or writable)


class Pair:
    def __init__(self) -> None:
        self.loop = Loop()
        self.heard: list[tuple[dict[str, Any], list[Named]]] = []
        self.ended: list[str] = []
        ours, theirs = socket.socketpair()
        self.parent = Link(self.loop, ours, lambda *came: self.heard.append(came), lambda: self.ended.append("parent"))
        self.child = Link(self.loop, theirs, lambda *came: self.heard.append(came), lambda: self.ended.append("child"))

    def settle(self) -> None:
        while self.loop.turn():
            pass

    def close(self) -> None:
        self.parent.close()
        self.child.close()
        assert not self.loop.readers
        assert not self.loop.writers


def test_messages_come_whole_and_in_order_both_ways() -> None:
    pair = Pair()
    large = {"statistics": ["x" * 1000] * 3000}  # more than the kernel holds at once
    for message in ({"do": "a"}, large, {"do": "b"}):
        pair.parent.send(message)
    pair.child.send({"event": "ready"})
    pair.settle()
    assert [message for message, _ in pair.heard if "event" not in message] == [{"do": "a"}, large, {"do": "b"}]
    assert ({"event": "ready"}, []) in pair.heard
    pair.close()
    assert pair.ended == []


def test_sockets_come_with_the_message_that_names_them() -> None:
    pair = Pair()
    before = len(os.listdir("/proc/self/fd"))
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    addresses = [server.getsockname() for server in servers]
    pair.parent.send({"do": "fill", "with": "x" * 500_000})
    pair.parent.send({"do": "lend", "slot": 1}, [("inbound", servers[0]), ("outbound cart", servers[1])])
    pair.parent.send({"do": "lend", "slot": 2}, [("inbound", servers[2])])
    pair.parent.send({"do": "nothing"})
    for server in servers:
        server.close()  # the sender may
    pair.settle()
    came = [(message["do"], [(name, sock.getsockname()) for name, sock in sockets]) for message, sockets in pair.heard]
    assert came == [("fill", []), ("lend", [("inbound", addresses[0]), ("outbound cart", addresses[1])]),
                    ("lend", [("inbound", addresses[2])]), ("nothing", [])]
    for _, sockets in pair.heard:
        for _, sock in sockets:
            sock.close()
    assert len(os.listdir("/proc/self/fd")) == before
    pair.close()


def test_the_end_is_told_once_and_nothing_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    pair = Pair()
    with socket.create_server(("127.0.0.1", 0)) as server:
        pair.child.send({"do": "fill", "with": "x" * 5_000_000})
        pair.child.send({"do": "lend"}, [("inbound", server)])
    pair.parent.close()
    pair.settle()
    assert pair.ended == ["child"]
    pair.child.send({"event": "too late"})
    pair.settle()
    assert pair.ended == ["child"]
    pair.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_whoever_is_closed_by_a_message_hears_no_more() -> None:
    loop, heard = Loop(), []
    ours, theirs = socket.socketpair()
    links: list[Link] = []

    def once(message: dict[str, Any], _: list[Named]) -> None:
        heard.append(message)
        links[0].close()

    links.append(Link(loop, theirs, once, lambda: heard.append({"ended": True})))
    ours.sendall(b'{"do": "drain"}\n{"do": "more"}\n')
    loop.turn()
    assert heard == [{"do": "drain"}]
    ours.close()
