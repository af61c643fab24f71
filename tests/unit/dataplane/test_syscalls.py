"""The kernel's answers, the same from the compiled calls and from the plain ones."""

from __future__ import annotations

import errno
import importlib.machinery
import importlib.util
import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.dataplane import syscalls as compiled


def _plain() -> Any:
    """The same file, interpreted."""
    path = str(Path(compiled.__file__).with_name("syscalls.py"))
    loader = importlib.machinery.SourceFileLoader("plain_syscalls", path)
    spec = importlib.util.spec_from_loader("plain_syscalls", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(params=["compiled", "plain"])
def calls(request: pytest.FixtureRequest) -> Any:
    return compiled if request.param == "compiled" else _plain()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            accepted.setblocking(False)
            client.setblocking(False)
            yield accepted, client


def test_reading_and_writing(calls: Any, ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    buf = bytearray(16)
    assert calls.recv_into(near.fileno(), buf, 0, 16) == -errno.EAGAIN
    assert calls.peek_into(near.fileno(), buf, 0, 16) == -errno.EAGAIN
    assert calls.send_from(far.fileno(), b"..hello..", 2, 5) == 5
    assert calls.peek_into(near.fileno(), buf, 3, 2) == 2
    assert bytes(buf[:6]) == b"\0\0\0he\0"
    assert calls.recv_into(near.fileno(), buf, 0, 16) == 5
    assert bytes(buf[:6]) == b"hello\0"
    assert calls.send_from(near.fileno(), bytearray(b"back"), 1, 3) == 3
    assert far.recv(10) == b"ack"
    assert calls.send_fin(far.fileno()) == 0
    assert calls.recv_into(near.fileno(), buf, 0, 16) == 0
    assert calls.send_from(far.fileno(), b"x", 0, 1) == -errno.EPIPE


def test_a_full_kernel_takes_a_part_and_then_nothing(calls: Any, ends: tuple[socket.socket, socket.socket]) -> None:
    near, _ = ends
    much = bytes(32 << 20)
    assert 0 < calls.send_from(near.fileno(), much, 0, len(much)) < len(much)
    while (sent := calls.send_from(near.fileno(), much, 0, len(much))) > 0:
        pass
    assert sent == -errno.EAGAIN


@pytest.mark.parametrize(("start", "n"), [(-1, 1), (0, -1), (0, 9), (8, 1), (9, 0)])
def test_nothing_outside_the_buffer(calls: Any, start: int, n: int) -> None:
    for call in (calls.recv_into, calls.peek_into, calls.send_from):
        with pytest.raises(IndexError):
            call(0, bytearray(8), start, n)
    with pytest.raises(IndexError):
        calls.send_from(0, bytes(8), start, n)
    with pytest.raises(IndexError):
        calls.accept_one(0, bytearray(27))
    for index in (-1, 2):
        with pytest.raises(IndexError):
            calls.event_key(bytearray(32), index)
        with pytest.raises(IndexError):
            calls.event_mask(bytearray(32), index)


def test_a_closed_descriptor_is_an_error_and_no_exception(calls: Any) -> None:
    with socket.socket() as sock:
        fd = sock.fileno()
    assert calls.close_fd(fd) == -errno.EBADF


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connecting_and_accepting(calls: Any, host: str) -> None:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as server:
        server.setblocking(False)
        peer = bytearray(calls.ADDRESS_BYTES)
        assert calls.accept_one(server.fileno(), peer) == -errno.EAGAIN
        address = calls.literal(host, server.getsockname()[1])
        assert (calls.host_of(address), calls.port_of(address)) == (host, server.getsockname()[1])
        fd = calls.connect_to(address)
        with socket.socket(fileno=fd) as client:
            assert not os.get_blocking(fd)
            assert not os.get_inheritable(fd)
            accepted = calls.accept_one(server.fileno(), peer)
            with socket.socket(fileno=accepted) as other:
                assert not os.get_blocking(accepted)
                assert not os.get_inheritable(accepted)
                assert (calls.host_of(peer), calls.port_of(peer)) == client.getsockname()[:2]
                assert calls.socket_error(fd) == 0
                assert not calls.is_to_itself(fd, address)
                assert not other.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert calls.set_nodelay(accepted) == 0
                assert other.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_a_listening_socket_accepts_inherits_nodelay(calls: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        calls.set_nodelay(server.fileno())
        with socket.create_connection(server.getsockname()):
            fd = calls.accept_one(server.fileno(), bytearray(28))
            with socket.socket(fileno=fd) as accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_refused_connection_says_so(calls: Any) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        fd = calls.connect_to(calls.literal("127.0.0.1", bound.getsockname()[1]))
        if fd >= 0:
            select.select([], [fd], [], 5)
            assert calls.socket_error(fd) == errno.ECONNREFUSED
            calls.close_fd(fd)
        else:
            assert fd == -errno.ECONNREFUSED


def test_an_address_that_cannot_be_reached_leaves_no_descriptor(calls: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert calls.connect_to(calls.literal("255.255.255.255", 1)) in (-errno.ENETUNREACH, -errno.EACCES)
    assert len(os.listdir("/proc/self/fd")) == before


def test_reset_is_no_end_of_stream(calls: Any, ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    assert calls.reset_fd(near.detach()) == 0
    assert calls.recv_into(far.fileno(), bytearray(4), 0, 4) == -errno.ECONNRESET


def test_a_connection_to_itself_is_seen(calls: Any) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        sock.connect(("127.0.0.1", port))  # TCP's simultaneous open
        assert calls.is_to_itself(sock.fileno(), calls.literal("127.0.0.1", port))
        assert not calls.is_to_itself(sock.fileno(), calls.literal("127.0.0.2", port))


@pytest.mark.parametrize("host", ["", "cart", "256.1.1.1", "a" * 300, "\0", "::1::", "127.1", "fe80::1%lo"])
def test_names_are_no_literal_addresses(calls: Any, host: str) -> None:
    assert calls.literal(host, 80) is None


@pytest.mark.parametrize("port", [-1, 65_536])
def test_impossible_ports_are_no_addresses(calls: Any, port: int) -> None:
    assert calls.literal("127.0.0.1", port) is None


def test_addresses_are_packed_as_the_kernel_has_them(calls: Any) -> None:
    assert calls.literal("1.2.3.4", 80) == b"\x02\0\0\x50\x01\x02\x03\x04" + bytes(8)
    scoped = calls.packed(socket.AF_INET6, ("fe80::1%eth0", 80, 0, 3))
    assert (calls.host_of(scoped), calls.port_of(scoped), scoped[24]) == ("fe80::1", 80, 3)
    assert calls.host_of(b"\x01\0/tmp/socket") == ""
    with pytest.raises(OSError, match="family 1"):
        calls.packed(socket.AF_UNIX, ("a", 1))


def test_epoll_reports_keys(calls: Any, ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    epfd = calls.epoll_open()
    events = bytearray(4 * calls.EVENT_BYTES)
    assert calls.epoll_wait(epfd, events, 0) == 0
    assert calls.epoll_add(epfd, near.fileno(), select.EPOLLIN | select.EPOLLET, 0xFEDC_BA98_7654_3210) == 0
    assert calls.epoll_add(epfd, near.fileno(), select.EPOLLIN, 1) == -errno.EEXIST
    far.send(b"x")
    assert calls.epoll_wait(epfd, events, 5000) == 1
    assert calls.event_key(events, 0) == 0xFEDC_BA98_7654_3210
    assert calls.event_mask(events, 0) == select.EPOLLIN
    assert calls.epoll_wait(epfd, events, 0) == 0
    assert calls.epoll_delete(epfd, near.fileno()) == 0
    assert calls.epoll_delete(epfd, near.fileno()) == -errno.ENOENT
    assert calls.epoll_close(epfd) == 0


def test_the_clock_is_pythons(calls: Any) -> None:
    before = time.monotonic()
    assert before <= calls.monotonic() <= time.monotonic()


# ---- datagrams


@pytest.fixture(params=["127.0.0.1", "::1"])
def mailbox(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in request.param else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((request.param, 0))
        sock.settimeout(5)
        yield sock


def test_datagrams_there_and_back(calls: Any, mailbox: socket.socket) -> None:
    host, port = mailbox.getsockname()[:2]
    buf, peer = bytearray(70_000), bytearray(calls.ADDRESS_BYTES)
    fd = calls.connect_datagrams(calls.literal(host, port))
    assert fd >= 0
    for payload in (b"", b"x", bytes(range(256)) * 255):
        buf[: len(payload)] = payload
        assert calls.send_from(fd, buf, 0, len(payload)) == len(payload)
        buf[: len(payload)] = bytes(len(payload))
        assert calls.receive_from(mailbox.fileno(), buf, peer) == len(payload)
        assert buf[: len(payload)] == payload
        source = calls.sender(peer)
        with socket.socket(fileno=os.dup(fd)) as ours:
            assert source == calls.packed(mailbox.family, ours.getsockname())
        assert calls.send_to(mailbox.fileno(), buf, len(payload), source) == len(payload)
        assert calls.recv_into(fd, buf, 0, len(buf)) == len(payload)
    assert calls.receive_from(mailbox.fileno(), buf, peer) == -errno.EAGAIN
    assert calls.recv_into(fd, buf, 0, len(buf)) == -errno.EAGAIN
    calls.close_fd(fd)


def test_the_compiled_sender_is_the_plain_one(mailbox: socket.socket) -> None:
    with socket.socket(mailbox.family, socket.SOCK_DGRAM) as client:
        client.connect(mailbox.getsockname())
        found = []
        for calls in (compiled, _plain()):
            client.send(b"x")
            peer = bytearray(calls.ADDRESS_BYTES)
            assert calls.receive_from(mailbox.fileno(), bytearray(10), peer) == 1
            found.append(calls.sender(peer))
        assert found[0] == found[1]
        assert (calls.host_of(found[0]), calls.port_of(found[0])) == client.getsockname()[:2]


def test_a_longer_datagram_is_cut(calls: Any, mailbox: socket.socket) -> None:
    with socket.socket(mailbox.family, socket.SOCK_DGRAM) as client:
        client.sendto(b"12345", mailbox.getsockname())
        buf, peer = bytearray(3), bytearray(calls.ADDRESS_BYTES)
        assert calls.receive_from(mailbox.fileno(), buf, peer) == 3
        assert buf == b"123"


def test_what_icmp_says_is_heard(calls: Any, mailbox: socket.socket) -> None:
    host, port = mailbox.getsockname()[:2]
    mailbox.close()
    fd = calls.connect_datagrams(calls.literal(host, port))
    assert calls.send_from(fd, bytearray(b"x"), 0, 1) == 1
    assert calls.recv_into(fd, bytearray(10), 0, 10) == -errno.ECONNREFUSED
    calls.close_fd(fd)


def test_a_socket_connected_to_itself_is_noticed(calls: Any, mailbox: socket.socket) -> None:
    mailbox.connect(mailbox.getsockname())
    host, port = mailbox.getsockname()[:2]
    assert calls.is_to_itself(mailbox.fileno(), calls.literal(host, port))


def test_a_connected_socket_hears_everybody_again(calls: Any, mailbox: socket.socket) -> None:
    address = mailbox.getsockname()
    with socket.socket(mailbox.family, socket.SOCK_DGRAM) as client:
        mailbox.connect(address)
        client.sendto(b"lost", address)
        assert calls.disconnect(mailbox.fileno()) == 0
        with pytest.raises(OSError, match="not connected"):
            mailbox.getpeername()
        assert mailbox.getsockname()[1] == 0  # it was bound to port 0
        mailbox.bind(address)
        client.sendto(b"heard", address)
        assert mailbox.recv(10) == b"heard"


def test_datagrams_that_can_not_be_sent(calls: Any, mailbox: socket.socket) -> None:
    assert calls.connect_datagrams(calls.literal("255.255.255.255", 9)) == -errno.EACCES  # without SO_BROADCAST
    address = calls.packed(mailbox.family, mailbox.getsockname())
    assert calls.send_to(mailbox.fileno(), bytearray(70_000), 70_000, address) == -errno.EMSGSIZE
    with pytest.raises(IndexError):
        calls.send_to(mailbox.fileno(), bytearray(5), 6, address)
    with pytest.raises(IndexError):
        calls.receive_from(mailbox.fileno(), bytearray(5), bytearray(27))
