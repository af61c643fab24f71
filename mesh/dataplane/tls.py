# cython: language_level=3, wraparound=False, initializedcheck=False
"""TLS of one accepted connection, as a socket would be read and written that had none.

What lives here: records between a descriptor and OpenSSL (the standard library's `ssl`, through memory). What this must
not know: certificates, what is spoken inside, who watches the descriptor.

Through memory and not `ssl.SSLSocket` on the descriptor: OpenSSL reads a record's five octets and the rest of it by a
call each, and one more says that nothing is left; here it is one read for all that is there. docs/architecture.md has
what was measured.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import ssl
from typing import Any

import cython

if not cython.compiled:
    from mesh.dataplane.syscalls import recv_into, send_fin, send_from
    from mesh.wire.octets import octets_of, put_octets

_log = logging.getLogger(__name__)

_WOULD_BLOCK = cython.declare(cython.int, errno.EAGAIN)
_RESET = cython.declare(cython.int, errno.ECONNRESET)
_BROKEN = cython.declare(cython.int, errno.EPROTO)
# A read from the socket takes at most this much at first, and twice as much after each that was full, up to the second
# number: OpenSSL's memory keeps the size of the largest. One record has up to 16,384 octets and 22 of its own.
_FIRST_READ = cython.declare(cython.Py_ssize_t, 16_384)
_LARGEST_READ = cython.declare(cython.Py_ssize_t, 131_072)
# As much is encrypted before the kernel is asked to take it, and so held for a peer that takes nothing.
_SLICE = cython.declare(cython.Py_ssize_t, 32_768)
# What a caller may say until the handshake is done, in octets: OpenSSL's limit for a ClientHello is 131,396. Records
# that mean nothing (RFC 8446, appendix D.4) are taken without end otherwise.
MAX_HANDSHAKE = 262_144
_MAX_HANDSHAKE = cython.declare(cython.Py_ssize_t, MAX_HANDSHAKE)
# Up to so many octets a copy is made faster than a view.
_FEW = cython.declare(cython.Py_ssize_t, 2048)
_RECORD = cython.declare(cython.Py_ssize_t, 16_384)


class Session:
    """The callee's end of TLS. Its calls give what those of `syscalls` do, and take a descriptor like them.

    Before anything else `handshake`, until it gives 0. What the kernel did not take of what `send_from` was given comes
    again at the beginning of the next call, unchanged, as with any socket that does not block. `peer` is for the log.
    """

    def __init__(self, context: ssl.SSLContext, peer: str) -> None:
        self.peer = peer
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls: Any = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        core = getattr(self.tls, "_sslobj", self.tls)  # the same calls, without a Python function around each
        self.decrypt = core.read
        self.encrypt = core.write
        self.take_in = self.incoming.write
        self.take_out = self.outgoing.read
        self.ready = b""  # decrypted, and not taken yet
        self.unsent = b""  # encrypted, and not with the kernel yet
        self.owed = 0  # octets that `unsent` stands for, and that will come again
        self.size = _FIRST_READ
        self.greeting = 0  # octets that have come before the handshake was done
        self.whole = False  # there may be a whole record in `incoming`
        self.established = False
        self.ended = False  # the peer has said its end (close_notify)
        self.finishing = False
        self.dry = False  # the last read emptied the socket, so the next one can be spared
        self.thorough = False

    def protocol(self) -> str | None:
        """What was agreed on by ALPN."""
        agreed: str | None = self.tls.selected_alpn_protocol()
        return agreed

    def version(self) -> str | None:
        """`TLSv1.3`, and what else there may be; None before it is settled."""
        settled: str | None = self.tls.version()
        return settled

    def notice(self, thorough: cython.bint) -> cython.int:
        """An event has come: there may be something to read. `thorough`: a short read won't prove that it was all."""
        self.dry = False
        if thorough:
            self.thorough = True
        return 0

    def handshake(self, fd: cython.int, buf: bytearray) -> cython.Py_ssize_t:
        """Go on with the handshake; 0 when it is done and all of it is with the kernel. `buf` is free for use."""
        count: cython.Py_ssize_t
        while True:
            if not self.established:
                try:
                    self.tls.do_handshake()
                    self.established = True
                    self.whole = True
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError as error:
                    _log.info("tls_handshake_failed: %s: %s", self.peer, describe(error))
                    self.unsent += self.outgoing.read()
                    self.push(fd)  # the alert; who doesn't take it has none
                    return -_BROKEN
                self.unsent += self.outgoing.read()
            count = self.push(fd)
            if count < 0 or self.established:
                return count
            if self.greeting > _MAX_HANDSHAKE:
                _log.info("tls_handshake_failed: %s: %d octets, and not done", self.peer, self.greeting)
                return -_BROKEN
            count = self.fill(fd, buf, 0)
            if count <= 0:
                return count if count < 0 else -_RESET
            self.greeting += count

    def recv_into(self, fd: cython.int, buf: bytearray, start: cython.Py_ssize_t,
                  n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Read at most `n` octets to `buf[start:]`; what stands behind them in `buf` may be overwritten.

        0 is the end of the stream, said as TLS wants it. An end of the connection without that may be anybody's:
        ECONNRESET. A record that is not what it should be: EPROTO.
        """
        got: cython.Py_ssize_t = 0
        count: cython.Py_ssize_t
        if start < 0 or n < 0 or n > len(buf) - start:
            raise IndexError("octets outside the buffer")
        if self.ready:
            got = min(n, len(self.ready))
            put_octets(buf, start, self.ready[:got])
            self.ready = self.ready[got:]
        while got < n:
            if self.ended:
                break
            if self.whole:
                count = self.open(fd, buf, start + got, n - got)
                if count < 0:
                    if got > 0:  # it fails the same way the next time
                        break
                    return count
                got += count
                continue
            if got > 0:
                break
            count = self.fill(fd, buf, start)
            if count <= 0:
                return count if count < 0 else -_RESET
            self.whole = True
        return got

    def peek_into(self, fd: cython.int, buf: bytearray, start: cython.Py_ssize_t,
                  n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """As `recv_into`, and what was read can be read again."""
        have: bytes = self.ready
        count: cython.Py_ssize_t
        if len(have) < n:
            self.ready = b""
            count = self.recv_into(fd, buf, start, n - len(have))
            if count > 0:
                have += octets_of(buf, start, count)
            self.ready = have
            if not have:
                return count
        count = min(n, len(have))
        put_octets(buf, start, have[:count])
        return count

    def send_from(self, fd: cython.int, buf: Any, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Send `buf[start:start + n]`; how much of it the kernel has."""
        done: cython.Py_ssize_t = 0
        count: cython.Py_ssize_t
        status: cython.Py_ssize_t
        if self.unsent:
            status = self.push(fd)
            if status < 0:
                return status
            done = min(self.owed, n)
            self.owed = 0
        while done < n:
            try:
                count = self.encrypt(part_of(buf, start + done, min(n - done, _SLICE)))
            except ssl.SSLError as error:
                _log.info("tls_failed: %s: %s", self.peer, describe(error))
                return -_BROKEN
            self.unsent = self.take_out()
            status = self.push(fd)
            if status < 0:
                if status != -_WOULD_BLOCK:
                    return status
                self.owed = count
                return done if done > 0 else status
            done += count
        return done

    def send_fin(self, fd: cython.int) -> cython.Py_ssize_t:
        """Say the end, in TLS and in TCP; what the peer still says can be read. EAGAIN: call again, or `send_from`
        with nothing, once the kernel takes octets."""
        status: cython.Py_ssize_t
        if not self.finishing:
            self.finishing = True
            self.keep()
            with contextlib.suppress(ssl.SSLError):  # as a rule: the peer's own end has not come
                self.tls.unwrap()
            self.unsent += self.outgoing.read()
        status = self.push(fd)
        if status < 0:
            return status
        return send_fin(fd)

    # -- records

    def fill(self, fd: cython.int, buf: bytearray, start: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Give OpenSSL what the socket has, by way of `buf[start:]`."""
        want: cython.Py_ssize_t = min(self.size, len(buf) - start)
        got: cython.Py_ssize_t
        if self.dry:
            return -_WOULD_BLOCK
        got = recv_into(fd, buf, start, want)
        if got <= 0:
            return got
        if got < want:
            self.dry = not self.thorough
        elif self.size < _LARGEST_READ:
            self.size *= 2
        self.take_in(part_of(buf, start, got))
        return got

    def open(self, fd: cython.int, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Decrypt at most one record; 0 if there is none, or the end."""
        got: cython.Py_ssize_t = 0
        try:
            got = self.decrypt(n, buf if start == 0 else memoryview(buf)[start : start + n])
            if got == 0:
                self.ended = True
        except ssl.SSLWantReadError:
            self.whole = False
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            _log.info("tls_failed: %s: %s", self.peer, describe(error))
            self.unsent += self.outgoing.read()
            self.push(fd)
            return -_BROKEN
        # Less than was asked for is a whole record.
        if 0 < got < n and self.incoming.pending == 0:
            self.whole = False
        return got

    def keep(self) -> cython.int:
        """Decrypt what has come: a shutdown takes the next record for the peer's answer to it."""
        while self.whole and not self.ended:
            try:
                more: bytes = self.decrypt(_RECORD)
            except ssl.SSLError:
                break
            if not more:
                self.ended = True
            self.ready += more
        self.whole = False
        return 0

    def push(self, fd: cython.int) -> cython.Py_ssize_t:
        """Send what is encrypted; 0 when all of it is with the kernel."""
        data: bytes = self.unsent
        left: cython.Py_ssize_t = len(data)
        sent: cython.Py_ssize_t
        if left == 0:
            return 0
        sent = send_from(fd, data, 0, left)
        if sent == left:
            self.unsent = b""
            return 0
        if sent < 0:
            return sent
        self.unsent = data[sent:]
        return -_WOULD_BLOCK


def part_of(buf: Any, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> Any:
    """`n` octets of a bytearray or of bytes, for a function that copies them: a view costs more than a few octets."""
    if n <= _FEW and isinstance(buf, bytearray):
        return octets_of(buf, start, n)
    return memoryview(buf)[start : start + n]


def describe(error: ssl.SSLError) -> str:
    """What OpenSSL says is wrong: `tlsv1 alert unknown ca`."""
    return str(getattr(error, "reason", None) or error.args[-1]).lower().replace("_", " ")
