# cython: language_level=3, wraparound=False, initializedcheck=False
"""What an accepted connection speaks, and who takes it: protocol detection on one port.

What lives here: looking at the first octets without taking them, PROXY protocol headers of those who may send them,
TLS where the port ends it, the time limit. What this must not know: the protocols themselves, certificates, endpoints,
policies.

A port is told what its service speaks. TCP is relayed at once: a server may speak first. HTTP is HTTP/2 if the
connection begins with its preface, else HTTP/1.1, whose parser refuses what is neither. Only where nothing is declared
(`auto`) the octets decide alone; who says nothing within the time limit is relayed as TCP, which breaks nobody: the
octets that come later are relayed as they are.

A port that has a certificate ends the TLS of who begins with a ClientHello; what is inside is then looked at in the
same way, unless ALPN has said what it is. Everybody else is served as without it, unless TLS is required.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import select
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cython

from mesh.dataplane.hub import Hub
from mesh.dataplane.reactor import EDGES, INCOMING, Watch
from mesh.dataplane.tls import Session
from mesh.model import Protocol
from mesh.wire.client_hello import MAX_CLIENT_HELLO, parse_client_hello
from mesh.wire.detect import HTTP1, HTTP2, NEED_MORE, PROXY_V1, PROXY_V2, TCP, TLS
from mesh.wire.errors import ClientHelloError, ProxyProtocolError
from mesh.wire.frames import PREFACE
from mesh.wire.proxy_protocol import MAX_V2, SIGNATURE_1, SIGNATURE_2, parse_proxy

if not cython.compiled:
    from mesh.dataplane.syscalls import close_fd, peek_into, recv_into, reset_fd
    from mesh.wire.detect import detect
    from mesh.wire.octets import equal_at

_log = logging.getLogger(__name__)

_INCOMING = cython.declare(cython.uint, INCOMING)
_EDGES = cython.declare(cython.uint, EDGES)
_THOROUGH = cython.declare(cython.uint, select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR)
_ENDS = cython.declare(cython.uint, select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR)
_AGAIN = cython.declare(cython.int, errno.EAGAIN)
_NEED_MORE = cython.declare(cython.int, NEED_MORE)
_HTTP1 = cython.declare(cython.int, HTTP1)
_HTTP2 = cython.declare(cython.int, HTTP2)
_TLS = cython.declare(cython.int, TLS)
_TCP = cython.declare(cython.int, TCP)
_PROXY_V1 = cython.declare(cython.int, PROXY_V1)
_PROXY_V2 = cython.declare(cython.int, PROXY_V2)
# A ClientHello is the longest thing that has to be seen as a whole.
_LOOK = cython.declare(cython.int, max(MAX_CLIENT_HELLO, MAX_V2))

# Where HTTP is declared a caller may open a connection before it has anything to ask; nginx waits as long for the first
# octet (client_header_timeout). Seconds.
_SILENCE = cython.declare(cython.double, 60.0)
# From a ClientHello to the end of the handshake, in seconds; two round trips and what signing takes.
_HANDSHAKE = cython.declare(cython.double, 10.0)
# The first octet of every TLS connection (RFC 8446, section 5.1), and of no other protocol that is detected here.
_HANDSHAKE_RECORD = cython.declare(cython.int, 0x16)

# Inspector.mode
RELAY = cython.declare(cython.int, 0)  # TCP
HTTP = cython.declare(cython.int, 1)
DETECT = cython.declare(cython.int, 2)
# As for GOAWAY in `listener`, in seconds.
_ROUND_TRIP = 1.0
_POLL = 0.02
BY_NAME = cython.declare(cython.int, 3)  # the shared port: HTTP goes by :authority, TLS by SNI
HTTP_2 = cython.declare(cython.int, 4)  # HTTP/2 is declared; HTTP/1.1 is taken too

# The table of sources is cleared of those that have gone once it is this large, and twice what was left the last time.
_SOURCES = cython.declare(cython.Py_ssize_t, 1024)
# Refused connections are logged at most this often, in seconds: whoever makes too many must not fill the log as well.
_TELL = cython.declare(cython.double, 1.0)


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many connections one port takes, 0 for any number: `most` in all, `most_per_source` from one address."""

    most: int = 0
    most_per_source: int = 0


@dataclass(frozen=True, slots=True)
class Tls:
    """How a port ends TLS.

    `context()` is asked anew for each connection. `required`: who doesn't speak TLS is refused.
    """

    context: Callable[[], ssl.SSLContext]
    required: bool = False


class Sources:
    """How many connections each address has open, at most `most`.

    Nobody has to tell of an end, and whoever takes a connection over needs to know nothing of this: a connection is
    open as long as its descriptor is watched under the serial number that it got there. Looked at when an address
    seems to have too many, which costs a look at each of them.
    """

    def __init__(self, hub: Hub, most: cython.Py_ssize_t) -> None:
        self.hub = hub
        self.most = most
        self.open: dict[str, dict[int, int]] = {}  # serial numbers by descriptor
        self.clear_at = _SOURCES

    def full(self, host: str) -> cython.bint:
        """True if no more may come from `host`."""
        return host in self.open and len(self.open[host]) >= self.most and self.clear(host) >= self.most

    def note(self, host: str, fd: cython.int) -> cython.int:
        """`fd` has come from `host`, or has been taken over by somebody else."""
        if not self.hub.watches(fd):
            return 0  # gone already
        watch: Watch = self.hub._table[fd]
        if host not in self.open:
            if len(self.open) >= self.clear_at:
                self.clear_all()
            self.open[host] = {}
        self.open[host][fd] = watch.serial
        return 0

    def clear(self, host: str) -> cython.Py_ssize_t:
        """Forget the connections of `host` that have ended; how many are left."""
        held: dict[int, int] = self.open[host]
        watch: Watch
        fd: cython.int
        for fd, serial in list(held.items()):
            if self.hub.watches(fd):
                watch = self.hub._table[fd]
                if watch.serial == serial:
                    continue
            del held[fd]
        if not held:
            del self.open[host]
        return len(held)

    def clear_all(self) -> cython.int:
        for host in list(self.open):
            self.clear(host)
        self.clear_at = max(_SOURCES, 2 * len(self.open))
        return 0


class Inspector:
    """The connections of one port, until it is known what they speak.

    `protocol()` tells what is declared when a connection comes, None for the shared port. `http(fd, host, port,
    version)` with version 1 or 2, `relay(fd, host)` and `relay_name(fd, host, server_name)` take them over; the first
    two get the TLS session of the connection as one more argument, if there is one.
    `trusted(host)` says whose PROXY headers are believed. `limit`: seconds for the first octets to say what it is,
    where that is not declared. `crowd` bounds the connections, of which those that have been taken over are counted by
    `population()`; what goes past it is reset and counted in `refused`.
    """

    def __init__(self, hub: Hub, protocol: Callable[[], Protocol | None], http: Any, relay: Any, relay_name: Any,
                 trusted: Any, limit: cython.double, crowd: Crowd | None = None,
                 population: Callable[[], int] | None = None, tls: Tls | None = None) -> None:
        self.hub = hub
        self.tls: Any = tls
        self.tls_required = tls is not None and tls.required
        self.handshakes = 0
        self.failed_handshakes = 0
        self.without_tls = 0
        self.protocol = protocol
        self.http = http
        self.relay = relay
        self.relay_name = relay_name
        self.trusted = trusted
        self.limit = limit
        self.waiting: dict[Inspection, None] = {}  # in the order they came
        self.sweeping: Any = None
        self.refused = 0
        self.malformed = 0
        self.draining = False
        if crowd is None:
            crowd = Crowd()
        self.most = crowd.most
        self.population = population
        self.sources: Any = Sources(hub, crowd.most_per_source) if crowd.most_per_source > 0 else None
        self.told = -_TELL

    def accept(self, fd: int, host: str, port: int) -> None:
        """Take an accepted connection; the descriptor is ours from now on."""
        if self.draining:
            reset_fd(fd)
            return
        believed: cython.bint = self.trusted is not None and self.trusted(host)
        # Who speaks for others is counted by whom it names.
        if self.is_full() or (self.sources is not None and not believed and self.sources.full(host)):
            self.refuse(fd, host)
            return
        protocol: Any = self.protocol()
        mode: cython.int = HTTP
        if protocol is None:
            mode = BY_NAME
        elif protocol is Protocol.AUTO:
            mode = DETECT
        elif protocol is Protocol.TCP:
            mode = RELAY
            if not believed and self.tls is None:
                self.relay(fd, host)
                self.note(host, fd)
                return
        elif protocol is Protocol.GRPC or protocol is Protocol.HTTP2:
            mode = HTTP_2
        inspection: Inspection = Inspection(self, mode, host, port, believed)
        inspection.begin(fd)

    async def settle(self, timeout: float) -> None:
        """With the port closed, before `drain`: wait for the first words of those who were accepted.

        They may be under way; at most `timeout` seconds, and one round trip.
        """
        ends = self.hub.loop.time() + min(timeout, _ROUND_TRIP)
        while self.waiting and self.hub.loop.time() < ends:  # noqa: ASYNC110  rare, and nobody else waits
            await asyncio.sleep(_POLL)

    def is_full(self) -> cython.bint:
        """True if the port has as many connections as it may."""
        if self.most <= 0:
            return False
        count: cython.Py_ssize_t = len(self.waiting)
        if self.population is not None:
            count += self.population()
        return count >= self.most

    def refuse(self, fd: cython.int, host: str) -> cython.int:
        """One connection too many."""
        self.refused += 1
        now: cython.double = self.hub.touch()
        if now - self.told >= _TELL:
            self.told = now
            _log.warning("too_many_connections: %s is refused, %d so far", host, self.refused)
        reset_fd(fd)
        return 0

    def note(self, host: str, fd: cython.int) -> cython.int:
        """Somebody holds the connection `fd` of `host` now."""
        if self.sources is not None:
            self.sources.note(host, fd)
        return 0

    def drain(self) -> None:
        """Take no more; who has said nothing yet is let go."""
        self.draining = True
        inspection: Inspection
        for inspection in list(self.waiting):
            inspection.give_up()
        if self.sweeping is not None:
            self.sweeping.cancel()
            self.sweeping = None

    def await_more(self, inspection: Inspection) -> cython.int:
        """Hold `inspection` against the time limit."""
        self.waiting[inspection] = None
        if self.sweeping is None:
            self.sweeping = self.hub.loop.call_later(self.limit / 4, self.sweep)
        return 0

    def sweep(self) -> None:
        """Decide where the time is up."""
        now: cython.double = self.hub.touch()
        inspection: Inspection
        for inspection in list(self.waiting):
            if now >= inspection.began + inspection.limit:
                inspection.on_deadline()
        self.hub.flush()
        self.sweeping = self.hub.loop.call_later(self.limit / 4, self.sweep) if self.waiting else None

    def statistics(self) -> dict[str, int]:
        told = {"inspecting": len(self.waiting), "refused": self.refused, "malformed": self.malformed}
        if self.tls is not None:
            told.update(tls_handshakes=self.handshakes, tls_handshakes_failed=self.failed_handshakes,
                        without_tls=self.without_tls)
        return told


class Inspection(Watch):
    """One connection that is being looked at."""

    def __init__(self, inspector: Inspector, mode: cython.int, host: str, port: cython.int,
                 believed: cython.bint) -> None:
        Watch.__init__(self)
        self.inspector = inspector
        self.mode = mode
        self.host = host
        self.port = port
        self.believed = believed
        self.number = -1
        self.began = 0.0
        self.session: Any = None
        self.limit = inspector.limit if mode in (DETECT, RELAY) else _SILENCE

    def begin(self, fd: cython.int) -> cython.int:
        """Most callers speak first and at once: what is there already is looked at before anything is set up."""
        self.number = fd
        if self.look():
            return 0
        inspector: Inspector = self.inspector
        hub: Hub = inspector.hub
        self.began = hub.touch()
        inspector.await_more(self)
        try:
            hub.add(self, fd, _INCOMING if self.session is None else _EDGES)
        except OSError as error:
            _log.warning("a connection from %s is lost: %s", self.host, error.strerror)
            self.forget()
        if not self.believed:
            inspector.note(self.host, fd)
        hub.flush()
        return 0

    def on_event(self, mask: cython.uint) -> cython.int:
        if self.session is not None:
            self.session.notice((mask & _THOROUGH) != 0)
        # What is only looked at stays in front of the end of the stream.
        if not self.look() and mask & _ENDS:
            return self.on_deadline()
        return 0

    def on_error(self) -> cython.int:
        return self.give_up()

    def look(self) -> cython.bint:
        """Look at what is there; True when the connection is somebody else's now, or gone."""
        inspector: Inspector = self.inspector
        buf: bytearray = inspector.hub.inbox
        n: cython.Py_ssize_t
        verdict: cython.int
        if len(buf) == 0:
            return False  # nothing is watched yet, so there is no buffer
        while True:
            if self.session is not None and not self.session.established and not self.shake_hands(buf):
                return self.number < 0
            n = (peek_into(self.number, buf, 0, min(_LOOK, len(buf))) if self.session is None
                 else self.session.peek_into(self.number, buf, 0, min(_LOOK, len(buf))))
            if n == -_AGAIN:
                return False
            if n <= 0:
                self.give_up()
                return True
            if self.believed:
                verdict = detect(buf, n)
                if verdict == _NEED_MORE and self.may_be_proxy(buf, n):
                    return False
                if verdict in (_PROXY_V1, _PROXY_V2):
                    if not self.take_header(buf, n):
                        return self.number < 0
                    continue  # what comes after the header is the connection's own
                self.believed = False  # at most one header, and only at the beginning
            if inspector.tls is not None and self.session is None:
                if buf[0] == _HANDSHAKE_RECORD:
                    verdict = detect(buf, n)
                    if verdict == _NEED_MORE:
                        return False
                    if verdict == _TLS:
                        self.begin_tls()
                        continue
                if self.refused_without_tls():
                    return True
            return self.decide(buf, n)

    def may_be_proxy(self, buf: bytearray, n: cython.Py_ssize_t) -> cython.bint:
        return bool(equal_at(buf, 0, SIGNATURE_1[:n]) or equal_at(buf, 0, SIGNATURE_2[:n]))

    def take_header(self, buf: bytearray, n: cython.Py_ssize_t) -> cython.bint:
        """Read a PROXY header away; True if it was whole."""
        try:
            header = parse_proxy(buf, n)
        except ProxyProtocolError as error:
            self.inspector.malformed += 1
            _log.warning("a PROXY header from %s: %s", self.host, error)
            self.give_up()
            return False
        if header is None:
            return False
        recv_into(self.number, buf, 0, header.size)
        if header.source is not None:
            self.host = header.source.host
            self.port = header.source.port
        self.believed = False
        if self.inspector.sources is not None and self.inspector.sources.full(self.host):
            self.inspector.refuse(self.forget(), self.host)
            return False
        self.inspector.note(self.host, self.number)
        if self.mode == RELAY and self.inspector.tls is None:
            self.hand_to_relay()
            return False
        return True

    def begin_tls(self) -> cython.int:
        """A ClientHello has begun. It is OpenSSL that reads it: a server name has no say here, and may be any."""
        inspector: Inspector = self.inspector
        inspector.handshakes += 1
        self.session = Session(inspector.tls.context(), self.host)
        self.limit = _HANDSHAKE
        if self.began > 0:
            self.wait_anew()
            inspector.hub.change(self, _EDGES)
        return 0

    def shake_hands(self, buf: bytearray) -> cython.bint:
        """Go on with the handshake; True when it is done and what is inside may be looked at."""
        status: cython.Py_ssize_t = self.session.handshake(self.number, buf)
        if status == -_AGAIN:
            return False
        if status < 0:
            self.inspector.failed_handshakes += 1
            self.give_up()
            return False
        agreed: str | None = self.session.protocol()
        if agreed == "h2":
            self.hand_to_http(2)
        elif agreed == "http/1.1":
            self.hand_to_http(1)
        elif self.mode == RELAY:
            self.hand_to_relay()
        else:
            self.limit = self.inspector.limit if self.mode == DETECT else _SILENCE
            if self.began > 0:
                self.wait_anew()
            return True
        return False

    def wait_anew(self) -> cython.int:
        """The time limit begins now."""
        self.began = self.inspector.hub.touch()
        return 0

    def refused_without_tls(self) -> cython.bint:
        """Close the connection of who doesn't speak TLS where it is required."""
        if not self.inspector.tls_required:
            return False
        self.inspector.without_tls += 1
        _log.info("tls_required: %s does not speak it", self.host)
        self.give_up()
        return True

    def decide(self, buf: bytearray, n: cython.Py_ssize_t) -> cython.bint:
        """The octets are the connection's own."""
        verdict: cython.int
        if self.mode == RELAY:
            return self.hand_to_relay()
        if self.mode == HTTP or self.mode == HTTP_2:
            return self.decide_http(buf, n)
        verdict = detect(buf, n)
        if self.mode == BY_NAME:
            if verdict == _TLS or (verdict == _NEED_MORE and buf[0] == 0x16):
                return self.decide_name(buf, n)
            return self.decide_http(buf, n)
        if verdict == _NEED_MORE:
            return False
        if verdict in (_HTTP1, _HTTP2):
            return self.hand_to_http(2 if verdict == _HTTP2 else 1)
        return self.hand_to_relay()

    def decide_http(self, buf: bytearray, n: cython.Py_ssize_t) -> cython.bint:
        """HTTP is declared: anything that is not HTTP/2 is for the parser of HTTP/1.1 to refuse.

        But where HTTP/2 is what callers speak, one whose first octets are neither is answered in HTTP/2 (RFC 9113,
        section 3.4), and so is everywhere who got the preface wrong behind its version.
        """
        same: cython.Py_ssize_t = min(n, 24)
        if not equal_at(buf, 0, PREFACE[:same]):
            if n >= 14 and equal_at(buf, 0, PREFACE[:14]):
                return self.hand_to_http(2)
            return self.hand_to_http(2 if self.mode == HTTP_2 and detect(buf, n) == _TCP else 1)
        if same < 24:
            return False
        return self.hand_to_http(2)

    def decide_name(self, buf: bytearray, n: cython.Py_ssize_t) -> cython.bint:
        try:
            hello = parse_client_hello(buf, n)
        except ClientHelloError as error:
            self.inspector.malformed += 1
            _log.info("a ClientHello from %s: %s", self.host, error)
            self.give_up()
            return True
        if hello is None:
            return False
        fd: cython.int = self.forget()
        self.inspector.relay_name(fd, self.host, hello.server_name)
        self.inspector.note(self.host, fd)
        return True

    def hand_to_http(self, version: cython.int) -> cython.bint:
        fd: cython.int = self.forget()
        if self.session is None:
            self.inspector.http(fd, self.host, self.port, version)
        else:
            self.inspector.http(fd, self.host, self.port, version, self.session)
        self.inspector.note(self.host, fd)
        return True

    def hand_to_relay(self) -> cython.bint:
        fd: cython.int = self.forget()
        if self.session is None:
            self.inspector.relay(fd, self.host)
        else:
            self.inspector.relay(fd, self.host, self.session)
        self.inspector.note(self.host, fd)
        return True

    def on_deadline(self) -> cython.int:
        """Nothing, or too little, was said in time, or before the end."""
        if self.session is not None and not self.session.established:
            self.inspector.failed_handshakes += 1
            _log.info("tls_handshake_failed: %s did not finish it", self.host)
            return self.give_up()
        if self.session is None and self.refused_without_tls():
            return 0
        if self.mode == DETECT or self.mode == RELAY:
            self.hand_to_relay()
            return 0
        return self.give_up()

    def give_up(self) -> cython.int:
        """Close the connection."""
        fd: cython.int = self.forget()
        if fd >= 0:
            close_fd(fd)
        return 0

    def forget(self) -> cython.int:
        """Look no more; returns the descriptor, whose owner is the caller now."""
        fd: cython.int = self.number
        hub: Hub = self.inspector.hub
        self.number = -1
        if self.began > 0:
            self.inspector.waiting.pop(self, None)
            if self.fd >= 0:
                hub.release(self)
        return fd
