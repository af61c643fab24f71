"""TLS sessions between two sockets: this one's calls against what the standard library's client says and hears."""

from __future__ import annotations

import contextlib
import errno
import logging
import random
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from tls_world import Caller, server_context

from mesh.dataplane.tls import MAX_HANDSHAKE, Session, describe

AGAIN, RESET, BROKEN = -errno.EAGAIN, -errno.ECONNRESET, -errno.EPROTO


class Pair:
    """A session on one end of a pair of sockets, a caller at the other."""

    def __init__(self, *alpn: str, buffer: int = 0, context: ssl.SSLContext | None = None) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.setblocking(False)
        if buffer:
            self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.fd = self.ours.fileno()
        self.session = Session(server_context("h2", "http/1.1") if alpn else server_context(), "10.0.0.1")
        self.caller = Caller(theirs, *alpn, context=context)
        self.inbox = bytearray(1 << 20)

    def greet(self) -> Pair:
        """The whole handshake."""
        self.caller.step()
        assert self.session.handshake(self.fd, self.inbox) == AGAIN
        self.session.notice(False)
        assert self.caller.step()
        assert self.session.handshake(self.fd, self.inbox) == 0
        assert self.session.established
        return self

    def read(self, n: int = 65_536, *, event: bool = True) -> bytes | int:
        if event:
            self.session.notice(False)
        got = self.session.recv_into(self.fd, self.inbox, 3, n)
        return bytes(self.inbox[3 : 3 + got]) if got > 0 else got

    def close(self) -> None:
        self.ours.close()
        self.caller.sock.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair().greet()
    yield made
    made.close()


def test_octets_go_both_ways(pair: Pair) -> None:
    assert pair.session.version() == "TLSv1.3"
    assert pair.session.protocol() is None
    pair.caller.send(b"question")
    assert pair.read() == b"question"
    assert pair.session.send_from(pair.fd, b"..answer..", 2, 6) == 6
    assert pair.caller.read() == b"answer"


@pytest.mark.parametrize(("offered", "agreed"), [
    (("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), (("spdy/3",), None), (("spdy/3", "http/1.1"), "http/1.1")])
def test_what_is_agreed_on(offered: tuple[str, ...], agreed: str | None) -> None:
    pair = Pair(*offered).greet()
    assert pair.session.protocol() == agreed
    assert pair.caller.tls.selected_alpn_protocol() == agreed
    pair.close()


def test_a_read_that_emptied_the_socket_is_not_followed_by_another(pair: Pair) -> None:
    pair.caller.send(b"one")
    assert pair.read() == b"one"
    pair.caller.send(b"two")
    assert pair.read(event=False) == AGAIN  # nobody has told of it yet
    assert pair.read() == b"two"
    pair.session.notice(True)
    assert pair.read(event=False) == AGAIN
    pair.caller.send(b"three")
    assert pair.read(event=False) == b"three"


def test_what_came_with_the_end_of_the_handshake_is_there() -> None:
    pair = Pair()
    pair.caller.step()
    assert pair.session.handshake(pair.fd, pair.inbox) == AGAIN
    pair.session.notice(False)
    pair.caller.take()
    pair.caller.tls.do_handshake()
    pair.caller.send(b"early")  # in one segment with Finished
    assert pair.session.handshake(pair.fd, pair.inbox) == 0
    assert pair.read(event=False) == b"early"
    pair.close()


def test_records_one_octet_at_a_time(pair: Pair) -> None:
    wire = pair.caller.seal(b"slow") + pair.caller.seal(b"ly")
    heard = b""
    for octet in wire:
        pair.caller.sock.sendall(bytes([octet]))
        got = pair.read()
        if isinstance(got, bytes):
            heard += got
        else:
            assert got == AGAIN
    assert heard == b"slowly"


def test_many_records_in_small_and_in_large_reads(pair: Pair) -> None:
    rng = random.Random(5)
    sent = rng.randbytes(300_000)
    wire = memoryview(b"".join(pair.caller.seal(sent[at : at + 7001]) for at in range(0, len(sent), 7001)))
    heard = b""
    while len(heard) < len(sent):
        if wire:
            with contextlib.suppress(BlockingIOError):
                wire = wire[pair.caller.sock.send(wire[: rng.choice((1, 100, 40_000))]) :]
        got = pair.read(rng.choice((1, 10, 5000, 20_000, 200_000)))
        if isinstance(got, bytes):
            heard += got
        else:
            assert got == AGAIN
    assert heard == sent


def test_peeking_takes_nothing(pair: Pair) -> None:
    pair.caller.send(b"PRI * HTT")
    pair.session.notice(False)
    for _ in range(2):
        assert pair.session.peek_into(pair.fd, pair.inbox, 0, 100) == 9
        assert bytes(pair.inbox[:9]) == b"PRI * HTT"
    pair.caller.send(b"P/2.0")
    pair.session.notice(False)
    assert pair.session.peek_into(pair.fd, pair.inbox, 5, 100) == 14
    assert bytes(pair.inbox[5:19]) == b"PRI * HTTP/2.0"
    assert pair.session.peek_into(pair.fd, pair.inbox, 0, 3) == 3
    assert pair.read(4) == b"PRI "
    assert pair.read() == b"* HTTP/2.0"
    assert pair.session.peek_into(pair.fd, pair.inbox, 0, 100) == AGAIN
    pair.caller.say_end()
    pair.session.notice(False)
    assert pair.session.peek_into(pair.fd, pair.inbox, 0, 100) == 0


def test_the_end_is_said_and_heard(pair: Pair) -> None:
    pair.caller.send(b"last")
    pair.caller.say_end()
    pair.session.notice(True)  # as epoll tells of a FIN
    assert pair.read() == b"last"
    assert pair.read() == 0
    assert pair.read() == 0
    # The other half stays open, and ends by itself.
    assert pair.session.send_from(pair.fd, b"answer", 0, 6) == 6
    assert pair.session.send_fin(pair.fd) == 0
    assert pair.caller.read() == b"answer"
    assert pair.caller.ended
    assert not pair.caller.broken


def test_an_end_without_a_word_is_a_broken_connection(pair: Pair) -> None:
    pair.caller.send(b"a part")
    pair.caller.sock.shutdown(socket.SHUT_WR)
    pair.session.notice(True)
    assert pair.read() == b"a part"
    assert pair.read() == RESET


def test_what_comes_after_our_end_is_still_read(pair: Pair) -> None:
    pair.caller.send(b"first")
    pair.session.notice(False)
    assert pair.session.recv_into(pair.fd, pair.inbox, 0, 2) == 2  # the rest of the record is with OpenSSL
    assert pair.session.send_fin(pair.fd) == 0
    assert pair.caller.read() == b""
    assert pair.caller.ended
    assert pair.read() == b"rst"
    pair.caller.send(b"second")
    assert pair.read() == b"second"
    pair.caller.say_end()
    pair.session.notice(True)
    assert pair.read() == 0


def test_what_the_kernel_does_not_take_comes_again() -> None:
    pair = Pair(buffer=4096).greet()
    rng = random.Random(7)
    sent, at, heard = rng.randbytes(400_000), 0, b""
    refused = 0
    while at < len(sent):
        status = pair.session.send_from(pair.fd, sent, at, min(len(sent) - at, 150_000))
        if status == AGAIN:
            refused += 1
            heard += pair.caller.read()
        else:
            assert status > 0
            at += status
    assert refused > 3
    # The end waits for room, too.
    while (status := pair.session.send_fin(pair.fd)) == AGAIN:
        heard += pair.caller.read()
    assert status == 0
    heard += pair.caller.read()
    assert heard == sent
    assert pair.caller.ended
    pair.close()


def test_an_end_that_has_no_room_goes_with_nothing_to_send() -> None:
    pair = Pair(buffer=4096).greet()
    filler = b"x" * 500
    while pair.session.send_from(pair.fd, filler, 0, len(filler)) == len(filler):
        pass
    pair.caller.read()
    pair.session.send_from(pair.fd, filler, 0, len(filler))  # what was owed has gone now
    while True:  # raw octets, until not even an alert fits
        try:
            pair.ours.send(b"\0" * 64)
        except BlockingIOError:
            break
    assert pair.session.send_fin(pair.fd) == AGAIN
    assert pair.session.send_from(pair.fd, b"", 0, 0) == AGAIN
    pair.caller.sock.recv(1 << 20)
    assert pair.session.send_from(pair.fd, b"", 0, 0) == 0
    assert pair.session.send_fin(pair.fd) == 0
    pair.close()


def test_a_record_that_is_not_the_callers_fails_with_an_alert(
        pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pair.caller.sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert pair.read() == BROKEN
    assert "tls_failed: 10.0.0.1: decryption failed or bad record mac" in caplog.text
    assert pair.read() == BROKEN
    pair.caller.take()
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
        pair.caller.tls.read(100)


@pytest.mark.parametrize(("octets", "answer"), [
    (b"GET / HTTP/1.1\r\n\r\n", b""), (b"\x16\x03\x01\x00\x05hello", b"\x15"), (bytes(100), b""),
    (b"\x16\x03\x01\xff\xff" + b"x" * 100, b"\x15")])
def test_a_handshake_of_nonsense_fails(octets: bytes, answer: bytes) -> None:
    pair = Pair()
    pair.caller.sock.sendall(octets)
    assert pair.session.handshake(pair.fd, pair.inbox) == BROKEN
    pair.ours.close()
    assert pair.caller.sock.recv(100)[:1] == answer  # an alert, where OpenSSL has one for it
    pair.close()


def test_a_handshake_without_end_is_given_up() -> None:
    pair = Pair()
    pair.caller.step()
    assert pair.session.handshake(pair.fd, pair.inbox) == AGAIN
    nothing = b"\x14\x03\x03\x00\x01\x01" * 2000  # change_cipher_spec, which TLS 1.3 passes over
    status, sent = AGAIN, 0
    while status == AGAIN:
        with contextlib.suppress(BlockingIOError):
            sent += pair.caller.sock.send(nothing)
        pair.session.notice(False)
        status = pair.session.handshake(pair.fd, pair.inbox)
    assert status == BROKEN
    assert sent < MAX_HANDSHAKE + 300_000  # with what the kernel held
    pair.close()


def test_a_caller_who_goes_away_during_the_handshake() -> None:
    pair = Pair()
    pair.caller.step()
    assert pair.session.handshake(pair.fd, pair.inbox) == AGAIN
    pair.caller.sock.shutdown(socket.SHUT_WR)
    pair.session.notice(False)
    assert pair.session.handshake(pair.fd, pair.inbox) == RESET
    pair.close()


def test_an_older_version_is_refused() -> None:
    old = ssl.create_default_context()
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    pair = Pair(context=old)
    pair.caller.step()
    assert pair.session.handshake(pair.fd, pair.inbox) == BROKEN
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        pair.caller.step()
    pair.close()


def test_a_handshake_that_has_no_room_to_answer() -> None:
    pair = Pair(buffer=1)
    pair.caller.step()
    filled = 0
    while True:
        try:
            filled += pair.ours.send(b"\0" * 100)
        except BlockingIOError:
            break
    assert pair.session.handshake(pair.fd, pair.inbox) == AGAIN
    while filled:
        filled -= len(pair.caller.sock.recv(filled))
    pair.session.notice(False)
    for _ in range(10):
        status = pair.session.handshake(pair.fd, pair.inbox)
        pair.session.notice(False)
        if pair.caller.step() and status == 0:
            break
    assert status == 0
    pair.close()


@pytest.mark.parametrize("call", [
    lambda s, buf: s.recv_into(0, buf, 0, 11), lambda s, buf: s.recv_into(0, buf, -1, 1),
    lambda s, buf: s.recv_into(0, buf, 9, 2)])
def test_octets_outside_the_buffer(pair: Pair, call: Any) -> None:
    with pytest.raises(IndexError):
        call(pair.session, bytearray(10))


def test_words_for_an_error() -> None:
    error = ssl.SSLError(1, "[SSL: BAD_RECORD] x")
    assert describe(error) == "[ssl: bad record] x"
