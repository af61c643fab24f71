"""A certificate that lives as long as the tests, and a caller who speaks TLS: the standard library's, step by step."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import tempfile
from pathlib import Path

import trustme

from mesh.dataplane.tls import Session

NAME = "cart.test"


@functools.cache
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@functools.cache
def files(name: str = NAME) -> tuple[str, str]:
    """The paths of a certificate and its key."""
    home = Path(_homes.enter_context(tempfile.TemporaryDirectory()))
    made = authority().issue_cert(name, key_type=trustme.KeyType.ECDSA)
    (home / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    (home / "key.pem").write_bytes(made.private_key_pem.bytes())
    return str(home / "cert.pem"), str(home / "key.pem")


_homes = contextlib.ExitStack()


def server_context(*alpn: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(*files())
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def caller_context(*alpn: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


class Caller:
    """The caller's end of `sock`, which does not block; nothing happens but by a call."""

    def __init__(self, sock: socket.socket, *alpn: str, context: ssl.SSLContext | None = None,
                 name: str = NAME) -> None:
        self.sock = sock
        sock.setblocking(False)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or caller_context(*alpn)).wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self.established = False
        self.ended = False  # by close_notify
        self.eof = False

    @property
    def broken(self) -> bool:
        """The connection has ended without a word."""
        return self.eof and not self.ended

    def take(self) -> None:
        """What has come goes to OpenSSL."""
        with contextlib.suppress(BlockingIOError):
            while True:
                part = self.sock.recv(1 << 20)
                if not part:
                    self.incoming.write_eof()
                    self.eof = True
                    return
                self.incoming.write(part)

    def hello(self) -> bytes:
        """The ClientHello, for the test to send."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def step(self) -> bool:
        """Go on with the handshake; True once it is done."""
        self.take()
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            self.established = True
        self.flush()
        return self.established

    def flush(self) -> None:
        if data := self.outgoing.read():
            self.sock.sendall(data)

    def seal(self, data: bytes) -> bytes:
        """`data` as it goes over the wire."""
        self.tls.write(data)
        return self.outgoing.read()

    def send(self, data: bytes) -> None:
        self.sock.sendall(self.seal(data))

    def say_end(self) -> None:
        """close_notify, and FIN."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        self.flush()
        self.sock.shutdown(socket.SHUT_WR)

    def read(self) -> bytes:
        """All that has come."""
        self.take()
        parts = []
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLEOFError):
            try:
                while part := self.tls.read(1 << 16):
                    parts.append(part)
                self.ended = True
            except ssl.SSLZeroReturnError:
                self.ended = True
        with contextlib.suppress(BrokenPipeError):  # OpenSSL has a word on a broken connection, too
            self.flush()
        return b"".join(parts)


def connected(*alpn: str, buffer: int = 0, early: bytes = b"") -> tuple[int, Session, Caller]:
    """A descriptor with an established session on it, and its caller, who has sent `early` with the last of the
    handshake. `buffer`: octets of the kernel's, for what goes to the caller."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    if buffer:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    session, caller = Session(server_context(*alpn), "10.0.0.1"), Caller(theirs, *alpn)
    inbox = bytearray(1 << 20)
    caller.step()
    session.handshake(ours.fileno(), inbox)
    caller.take()
    caller.tls.do_handshake()
    if early:
        caller.tls.write(early)
    caller.flush()
    session.notice(False)
    assert session.handshake(ours.fileno(), inbox) == 0
    return ours.detach(), session, caller


async def heard(caller: Caller, size: int) -> bytes:
    """So many octets at least, or all that comes before the end."""
    found = b""
    async with asyncio.timeout(10):
        while len(found) < size and not caller.ended and not caller.eof:
            found += caller.read()
            await asyncio.sleep(0)
    return found
