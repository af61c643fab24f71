# cython: language_level=3, wraparound=False, initializedcheck=False
"""The shell of an HTTP connection: bytes in, bytes out, one write per peer for all that one batch of events caused.

What lives here: the socket side of a `Codec`. What this must not know: routes, services, policies, protocols.
"""

from __future__ import annotations

import errno
import logging
import os
import select
from typing import Any

import cython

from mesh.dataplane.hub import Hub, Shell
from mesh.dataplane.reactor import EDGES, INCOMING, Watch
from mesh.dataplane.resolve import resolve
from mesh.dataplane.syscalls import host_of, literal, port_of
from mesh.dataplane.timers import Timer
from mesh.dataplane.tls import Session
from mesh.wire.codec import Codec, Handler
from mesh.wire.errors import ConnectionError_

if not cython.compiled:
    from mesh.dataplane.syscalls import (
        connect_to,
        is_to_itself,
        recv_into,
        send_fin,
        send_from,
        set_nodelay,
        socket_error,
    )
    from mesh.wire.codec import ABORTS, STAYS
    from mesh.wire.octets import octets_of, put_octets

_log = logging.getLogger(__name__)

_EDGES = cython.declare(cython.uint, EDGES)
_INCOMING = cython.declare(cython.uint, INCOMING)
_WOULD_BLOCK = cython.declare(cython.int, errno.EAGAIN)
_REFUSED = cython.declare(cython.int, errno.ECONNREFUSED)
# Transport.state
_NEW = cython.declare(cython.int, 0)
_CONNECTING = cython.declare(cython.int, 1)
_OPEN = cython.declare(cython.int, 2)
_LINGERING = cython.declare(cython.int, 3)  # our end is sent; what the peer still says is thrown away
_GONE = cython.declare(cython.int, 4)

_IN = cython.declare(cython.uint, select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLHUP
                     | select.EPOLLERR)
_THOROUGH = cython.declare(cython.uint, select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR)
_BROKEN = cython.declare(cython.uint, select.EPOLLHUP | select.EPOLLERR)
_OUT = cython.declare(cython.uint, select.EPOLLOUT)

# A read takes at most this much at first, and twice as much after each that was full, up to the second number: small
# where a codec leaves much to be offered again.
_FIRST_READ = cython.declare(cython.Py_ssize_t, 16_384)
INBOX_BYTES = cython.declare(cython.Py_ssize_t, 131_072)
# Reads in a row before the others get their turn.
_ROUNDS = cython.declare(cython.int, 4)
# While the kernel takes no more, a connection may add this much output beside the flow-controlled data (SETTINGS and
# PING acknowledgements, window updates, resets): a peer that floods without reading is cut off there.
MAX_UNREAD_CONTROL = cython.declare(cython.Py_ssize_t, 4 << 20)
_LARGE_OUTPUT = cython.declare(cython.Py_ssize_t, 65_536)
# Closing while the peer still sends would make the kernel answer with RST, which destroys what we have sent last. So
# what still comes is read and thrown away, at most for this long (seconds; nginx's lingering_timeout is 5) and this
# many octets.
LINGER = cython.declare(cython.double, 2.0)
LINGER_BYTES = cython.declare(cython.Py_ssize_t, 262_144)
# A connection that is to be closed waits at most this long for the peer to take its last output, in seconds; nginx's
# send_timeout is 60.
LAST_WORDS = cython.declare(cython.double, 30.0)


class TransportHandler(Handler):
    """A codec handler that also hears of its transport."""

    def on_connected(self, transport: Transport) -> cython.int:
        return 0

    def on_lost(self, exc: object) -> cython.int:
        """The connection is gone, whoever ended it. Called exactly once, also if `on_connected` failed."""
        return 0

    def on_received(self) -> cython.int:
        """All frames of one read have been handled."""
        return 0

    def on_offence(self, cause: str) -> cython.int:
        """The peer has broken the protocol or a limit, and is cut off; `cause` is a reason code."""
        return 0

    def on_write_resume(self) -> cython.int:
        """The kernel takes bytes again: `paused` has become false."""
        return 0


class Patience(Timer):
    """How long the end of a connection may take."""

    def __init__(self, transport: Transport) -> None:
        Timer.__init__(self)
        self.transport = transport

    def fire(self) -> cython.int:
        return self.transport.lose_patience()


class Transport(Shell):
    """One connection: `adopt` an accepted one or `connect`.

    `paused`: the kernel takes no more; hold DATA back. `closing`: no new streams; `closed`: the socket is gone.
    `begun`: since when a part of something waits for its rest, 0 if none does. `failed`: a protocol error ended it.
    `unread`: octets of answers that wait in exchanges until this peer takes them.
    """

    def __init__(self, conn: Codec, handler: TransportHandler, hub: Hub) -> None:
        Watch.__init__(self)
        self.hub = hub
        self.handler = handler
        self.conn = conn
        self.tls: Any = None
        conn.owner = self
        self.state = _NEW
        self.rest = b""
        self.limit = _FIRST_READ
        self.begun = 0.0
        self.shut = False
        self.sent = 0  # conn.out[:sent] has been written already
        self.refused = 0  # up to here conn.out was there when the kernel took no more
        self.discarded = 0
        self.loss: object = None
        self.opening: Any = None
        self.address = b""
        self.patience: Any = None
        self.readable = False
        self.thorough = False  # a short read does not prove that nothing is left
        self.asked = False  # epoll tells when the kernel takes octets again
        self.ended = False  # the peer's end has been read
        self.held = False  # the codec takes nothing now
        self.deferred = False
        self.paused = False
        self.closed = False
        self.closing = False
        self.failed = False
        self.peer_host = ""
        self.peer_port = 0
        self.unread = 0

    # -- the beginning

    def adopt(self, fd: int, host: str, port: int, tls: Session | None = None) -> None:
        """Carry the connection `fd`, which `host` and `port` have opened, and `tls` on it; it is the transport's."""
        self.peer_host = host
        self.peer_port = port
        self.hub.touch()
        try:
            self.hub.add(self, fd, _INCOMING)
        except OSError as error:
            _log.warning("no connection from %s port %d: %s", host, port, error.strerror)
            return
        try:
            self.tls = tls  # before anything can be written
            self.opened()
            if tls is not None:
                self.readable = self.thorough = True  # the session may have read what epoll tells of no more
                self.again()
        except Exception:
            _log.exception("a connection failed")
            self.abort()
        self.hub.flush()

    async def connect(self, host: str, port: int) -> None:
        """Connect to the first address of `host` that accepts. OSError: none does."""
        address: bytes | None = literal(host, port)
        addresses: list[bytes] = [address] if address is not None else await resolve(self.hub.loop, host, port)
        failure: Any = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        for address in addresses:
            fd: cython.int = connect_to(address)
            if fd < 0:
                failure = OSError(-fd, os.strerror(-fd))
                continue
            set_nodelay(fd)
            self.address = address
            self.peer_host = host_of(address)
            self.peer_port = port_of(address)
            self.opening = self.hub.loop.create_future()
            self.hub.add(self, fd, _EDGES)
            self.asked = True
            self.state = _CONNECTING
            try:
                await self.opening
                return
            except OSError as error:
                failure = error
            finally:
                self.opening = None
                self.address = b""
                if self.state == _CONNECTING:
                    self.state = _NEW
                    self.hub.remove_by_reset(self)
        raise failure

    def on_connect(self, mask: cython.uint) -> cython.int:
        """The kernel has decided on the connection that `connect` asked for."""
        status: cython.int = socket_error(self.fd) if mask & _BROKEN else 0
        if status == 0 and is_to_itself(self.fd, self.address):
            status = _REFUSED
        if self.opening.done():  # who connected has given up, and will close it
            return 0
        if status:
            self.opening.set_exception(OSError(status, os.strerror(status)))
            return 0
        self.opening.set_result(None)
        self.opened()
        return 0

    def opened(self) -> cython.int:
        self.state = _OPEN
        self.hub.transports += 1
        self.conn.now = self.hub.now
        self.conn.start()
        self.handler.on_connected(self)
        return 0

    # -- events

    def on_event(self, mask: cython.uint) -> cython.int:
        self.hub.touch()
        if self.state == _CONNECTING and mask & (_OUT | _BROKEN):
            self.on_connect(mask)
        if mask & _IN:
            self.readable = True
            if self.tls is not None:
                self.tls.notice((mask & _THOROUGH) != 0)
            elif mask & _THOROUGH:
                self.thorough = True
        if self.state == _OPEN:
            if mask & _OUT and self.paused:
                self.resume()
            if self.readable and self.state == _OPEN:
                self.read()
            if mask & _BROKEN and self.state == _OPEN and (self.held or self.closing or self.ended):
                self.hub.remove(self)
                self.end(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))
        elif self.state == _LINGERING:
            self.discard()
        return 0

    def on_again(self) -> cython.int:
        self.deferred = False
        if self.state == _GONE or self.state == _LINGERING:
            if not self.closed:
                self.lose()
            if self.state == _LINGERING:
                self.discard()
        elif self.state == _OPEN:
            self.hub.touch()
            self.read()
        return 0

    def on_error(self) -> cython.int:
        return self.abort()

    # -- input

    def read(self) -> cython.int:
        """Read and feed the codec until the kernel has no more, the codec takes no more or this turn is over."""
        hub: Hub = self.hub
        conn: Codec = self.conn
        rounds: cython.int = 0
        have: cython.Py_ssize_t
        want: cython.Py_ssize_t
        got: cython.Py_ssize_t
        if conn.deferred:
            if self.rest:
                put_octets(hub.inbox, 0, self.rest)
                self.feed(len(self.rest))
            if conn.deferred:
                return self.again()
        while self.readable and not self.closing and not self.ended:
            if not conn.reading():
                self.held = True
                return 0
            self.held = False
            if rounds == _ROUNDS:
                return self.again()
            rounds += 1
            have = len(self.rest)
            want = min(self.limit, INBOX_BYTES - have)
            if want <= 0:  # a codec that needs this much at once has no limits of its own
                self.failed = True
                return self.reset()
            if have:
                put_octets(hub.inbox, 0, self.rest)
            got = (recv_into(self.fd, hub.inbox, have, want) if self.tls is None
                   else self.tls.recv_into(self.fd, hub.inbox, have, want))
            if got > 0:
                if got < want:
                    self.readable = self.thorough  # a short read empties a stream socket (epoll(7)), but for a FIN
                elif self.limit < INBOX_BYTES:
                    self.limit *= 2
                self.feed(have + got)
                if conn.deferred:
                    return self.again()
            elif got == 0:
                return self.on_eof()
            elif got == -_WOULD_BLOCK:
                self.readable = False
            else:
                hub.remove(self)
                return self.end(OSError(-got, os.strerror(-got)))
        return 0

    def again(self) -> cython.int:
        if not self.deferred:
            self.deferred = True
            self.hub.defer(self)
        return 0

    def feed(self, total: cython.Py_ssize_t) -> cython.int:
        """Offer the codec the first `total` octets of the inbox and keep what it leaves."""
        hub: Hub = self.hub
        conn: Codec = self.conn
        conn.now = hub.now
        try:
            used: cython.Py_ssize_t = conn.receive(hub.inbox, total)
            if used < total:
                self.rest = octets_of(hub.inbox, used, total - used)
                if used > 0 or self.begun == 0:
                    self.begun = hub.now
            else:
                self.begun = 0
                if self.rest:
                    self.rest = b""
            self.handler.on_received()
        except ConnectionError_ as error:
            _log.info("%s: connection of %s port %d ended: %s", error.cause, self.peer_host, self.peer_port, error)
            self.failed = True
            self.rest = b""
            self.handler.on_offence(error.cause)
            return self.reset() if conn.ending == ABORTS else self.close()
        if conn.ending != STAYS:
            return self.on_ending()
        if self.paused and conn.out_len - max(self.sent, self.refused) > MAX_UNREAD_CONTROL:
            return self.reset()
        if not conn.reading():
            self.held = True
            self.limit = _FIRST_READ
        return 0

    def on_eof(self) -> cython.int:
        self.ended = True
        self.readable = False
        self.conn.now = self.hub.now
        try:
            if self.conn.receive_eof() and self.conn.ending == STAYS:
                return 0
        except ConnectionError_:
            self.failed = True
        if self.conn.ending == ABORTS:
            return self.reset()
        return self.close()

    def attended(self) -> cython.int:
        """The codec has output, or its mind has changed: on reading, on how the connection ends."""
        conn: Codec = self.conn
        self.write_out()
        if self.state != _OPEN or self.closing:
            return 0
        if conn.ending != STAYS:
            return self.on_ending()
        if conn.shut and conn.out_len == 0:
            self.written()
        if self.held and conn.reading():
            self.held = False
            if self.rest:
                put_octets(self.hub.inbox, 0, self.rest)
                self.feed(len(self.rest))
            if (self.readable or conn.deferred) and not self.held and not self.closing:
                self.again()
        return 0

    def on_ending(self) -> cython.int:
        return self.reset() if self.conn.ending == ABORTS else self.close()

    # -- output

    def write_out(self) -> cython.int:
        """Hand pending output to the kernel; what it refuses stays in the codec's buffer and pauses us."""
        conn: Codec = self.conn
        if conn.out_len == 0:
            return 0
        if self.state == _OPEN:
            if not self.paused and self.push():
                self.written()
        elif self.state != _NEW and self.state != _CONNECTING:
            conn.out_len = 0
        return 0

    def push(self) -> cython.bint:
        """True when all output has gone."""
        conn: Codec = self.conn
        left: cython.Py_ssize_t = conn.out_len - self.sent
        done: cython.Py_ssize_t = (send_from(self.fd, conn.out, self.sent, left) if self.tls is None
                                   else self.tls.send_from(self.fd, conn.out, self.sent, left))
        if done == left:
            if conn.out_len > _LARGE_OUTPUT:
                conn.out_len = 0
                conn.trim()
            conn.out_len = 0
            self.sent = 0
            return True
        if done < 0:
            if done != -_WOULD_BLOCK:
                self.hub.remove(self)
                self.end(OSError(-done, os.strerror(-done)))
                return False
            done = 0
        self.sent += done
        if self.sent >= _LARGE_OUTPUT and self.sent >= conn.out_len - self.sent:
            rest: bytes = octets_of(conn.out, self.sent, conn.out_len - self.sent)
            put_octets(conn.out, 0, rest)
            conn.out_len -= self.sent
            self.refused -= self.sent
            self.sent = 0
        self.pause()
        return False

    def pause(self) -> cython.int:
        """The kernel takes no more; `resume` when it does."""
        if not self.paused:
            self.paused = True
            self.refused = self.conn.out_len
        if not self.asked:
            self.asked = True
            self.hub.change(self, _EDGES)
        return 0

    def resume(self) -> cython.int:
        """The kernel takes bytes again."""
        if self.push():
            self.paused = False
            self.refused = 0
            self.written()
            if self.state == _OPEN and not self.closing:
                self.handler.on_write_resume()
        return 0

    def written(self) -> cython.int:
        """Everything is with the kernel: the end, if this was to be the last."""
        if self.closing:
            self.part()
        elif self.conn.shut and not self.shut:
            self.shut = self.say_end() != -_WOULD_BLOCK
        elif self.conn.waiters() > 0:
            self.conn.serve()
        return 0

    # -- the end

    def expire(self) -> cython.int:
        """Close a connection whose peer has taken too long to begin a request, with a word that says so."""
        self.conn.expire(self.begun > 0)
        return self.close()

    def close(self) -> cython.int:
        """Write what is pending, then close, so that the peer gets all of it."""
        if self.closing:
            return 0
        self.closing = True
        if self.state == _OPEN:
            if self.conn.out_len:
                self.write_out()
                if self.state == _OPEN:
                    self.wait_at_most(LAST_WORDS)
            else:
                self.part()
        return 0

    def abort(self) -> cython.int:
        """Close now; pending output is lost."""
        self.closing = True
        if self.state == _CONNECTING:
            if not self.opening.done():
                self.opening.set_exception(OSError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)))
        elif self.state == _LINGERING:
            self.depart()
        elif self.state == _OPEN:
            self.hub.remove(self)
            self.end(None)
        elif self.state == _NEW:
            self.state = _GONE
            self.let_go()
        return 0

    def reset(self) -> cython.int:
        """As `abort`, by RST: the peer must not take a part for the whole."""
        if self.state == _OPEN:
            self.hub.remove_by_reset(self)
        return self.abort()

    def say_end(self) -> cython.Py_ssize_t:
        """FIN. EAGAIN: TLS has a last word that the kernel doesn't take yet; `written` comes again then."""
        if self.tls is None:
            return 0 if self.ended and self.closing else send_fin(self.fd)
        status: cython.Py_ssize_t = self.tls.send_fin(self.fd)
        if status == -_WOULD_BLOCK:
            self.pause()
        return status

    def part(self) -> cython.int:
        """All is written: say so, and let the peer finish."""
        status: cython.Py_ssize_t = self.say_end()
        if status == -_WOULD_BLOCK:
            return self.wait_at_most(LAST_WORDS)
        if self.ended or status < 0:
            self.hub.remove(self)
            return self.end(None)
        self.end(None)
        self.state = _LINGERING
        self.hub.lingering += 1
        return self.wait_at_most(LINGER)

    def discard(self) -> cython.int:
        """Throw away what the peer says after our end; close at its end."""
        got: cython.Py_ssize_t
        while self.discarded < LINGER_BYTES:
            got = recv_into(self.fd, self.hub.inbox, 0, INBOX_BYTES)
            if got == -_WOULD_BLOCK:
                return 0
            if got <= 0:
                break
            self.discarded += got
        return self.depart()

    def depart(self) -> cython.int:
        """The end of lingering."""
        self.hub.lingering -= 1
        self.state = _GONE
        self.hub.remove(self)
        if self.patience is not None:
            self.hub.timers.cancel(self.patience)
            self.patience = None
        return 0

    def wait_at_most(self, seconds: cython.double) -> cython.int:
        if self.patience is None:
            self.patience = Patience(self)
        self.hub.timers.add(self.patience, self.hub.now + seconds, self.hub.now)
        return 0

    def lose_patience(self) -> cython.int:
        if self.state == _LINGERING:
            self.depart()
        elif self.state == _OPEN:
            self.reset()
        return 0

    def end(self, exc: object) -> cython.int:
        """The connection is over for those who use it; they are told in the next turn, nobody is in the middle of
        something then."""
        self.state = _GONE
        self.closing = True
        self.loss = exc
        if self.patience is not None:
            self.hub.timers.cancel(self.patience)
        self.hub.defer(self)
        return 0

    def lose(self) -> cython.int:
        self.closed = True
        self.rest = b""
        self.conn.out_len = 0
        self.sent = 0
        self.hub.transports -= 1
        self.hub.touch()
        try:
            self.handler.on_lost(self.loss)
        finally:
            self.conn.end()
            self.let_go()
            if self.state != _LINGERING:
                self.patience = None
        return 0

    def let_go(self) -> cython.int:
        """Nobody refers to anybody any more: all of it goes with its last user, none waits for the collector."""
        self.conn.owner = None
        self.conn.handler = _NOBODY
        self.handler = _NOBODY
        return 0


# In the place of the handler of a connection that is gone.
_NOBODY = cython.declare(TransportHandler, TransportHandler())
