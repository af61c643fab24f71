"""The sidecar's listening sockets: bound or inherited in one place, named by their option, before all else is built.

What lives here: which sockets a configuration asks for, taking over those of a predecessor, binding the others, and one
line that names the option when an address can't be had. What this must not know: who accepts and what arrives.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mesh.errors import InvalidConfig
from mesh.model import Protocol
from mesh.sidecar.config import Address, SidecarConfig

# The kernel cuts it to net.core.somaxconn, 4096 since Linux 5.4.
BACKLOG = 4096

Named = tuple[str, socket.socket]

_log = logging.getLogger("mesh.sidecar")


class Wanted(NamedTuple):
    """A socket that a configuration asks for. `name` is `inbound`, `outbound <service>`, `outbound-shared` or `admin`.

    `place` is the option as given, for messages. `kind` is SOCK_STREAM or SOCK_DGRAM. `beside`: only at the port that
    the socket of this name has got, and if it can't be had there, without it.
    """

    name: str
    place: str
    address: Address
    kind: int = socket.SOCK_STREAM
    beside: str = ""


def wanted(config: SidecarConfig) -> Iterator[Wanted]:
    """Every listening socket of a sidecar that runs with `config`.

    An outbound port whose protocol is not declared serves what discovery says, UDP included: `outbound <service> udp`.
    """
    if config.app is not None:
        yield Wanted("inbound", f"--inbound {config.inbound}", config.inbound, _kind(config.protocol))
    for each in config.outbound:
        yield Wanted(f"outbound {each.service}", f"--outbound {each}", each.address, _kind(each.protocol))
    if config.outbound_shared is not None:
        yield Wanted("outbound-shared", f"--outbound-shared {config.outbound_shared}", config.outbound_shared)
    if config.admin is not None:
        yield Wanted("admin", f"--admin {config.admin}", config.admin)
    for each in config.outbound:
        if each.protocol is None:
            yield Wanted(f"outbound {each.service} udp", f"--outbound {each}", each.address, socket.SOCK_DGRAM,
                         f"outbound {each.service}")


def _kind(protocol: Protocol | None) -> int:
    return socket.SOCK_DGRAM if protocol is Protocol.UDP else socket.SOCK_STREAM


class Sockets:
    """Bound and listening sockets by name, one or more of each at one address; whoever accepts from one owns it.

    More than one are a group that the kernel spreads connections over (SO_REUSEPORT): a slot for each worker.
    """

    def __init__(self, slots: dict[str, list[socket.socket]]) -> None:
        self._slots = slots

    @classmethod
    def bind(cls, config: SidecarConfig, slots: int = 1, inherited: Iterable[Named] = ()) -> Sockets:
        """Have all that `config` asks for, `slots` of each at least, or nothing.

        What `inherited` has at the right address is used, the rest of it closed. InvalidConfig begins with the option
        that can't be had.
        """
        left = list(inherited)
        bound = cls({})
        try:
            for each in wanted(config):
                bound._slots[each.name] = found = []
                if each.beside:
                    host, port = bound._slots[each.beside][0].getsockname()[:2]
                    each = each._replace(address=Address(host, port))
                found += _take(left, each)
                try:
                    if not found:
                        found.append(_listening(each))
                    while len(found) < slots:
                        found.append(_one_more(found[0], each))
                except InvalidConfig as error:
                    if not each.beside:
                        raise
                    _log.warning("no datagrams at %s (say which protocol it is, or choose another port)", error)
                    for sock in found:
                        sock.close()
                    del bound._slots[each.name]
        except BaseException:
            bound.close()
            raise
        finally:
            for _, sock in left:
                sock.close()
        return bound

    def __getitem__(self, name: str) -> list[socket.socket]:
        return self._slots[name]

    def get(self, name: str) -> list[socket.socket]:
        """As `[name]`, but none where there is none."""
        return self._slots.get(name, [])

    def __iter__(self) -> Iterator[Named]:
        """Every socket with its name; those of one name in the order of their slots."""
        for name, socks in self._slots.items():
            for sock in socks:
                yield name, sock

    def keep(self, worker: int, workers: int) -> None:
        """Close all but the slots of worker number `worker` of `workers`."""
        for name, socks in self._slots.items():
            for slot, sock in enumerate(socks):
                if slot % workers != worker:
                    sock.close()
            self._slots[name] = socks[worker::workers]

    @property
    def width(self) -> int:
        """The number of slots."""
        return max(map(len, self._slots.values()), default=0)

    def forget(self, name: str) -> None:
        """Close those of one name, if there are any."""
        for sock in self._slots.pop(name, ()):
            sock.close()

    def slot(self, number: int) -> list[Named]:
        """The sockets of one slot."""
        return [(name, socks[number]) for name, socks in self._slots.items() if number < len(socks)]

    def close(self) -> None:
        """Let go of all that nobody else has closed yet."""
        for _, sock in self:
            sock.close()


def _take(inherited: list[Named], want: Wanted) -> list[socket.socket]:
    """Remove from `inherited` and return what is at the wanted address.

    By its name first: port 0 then means the port that it has already. But an address can also have changed its name.
    """
    for named in (True, False):
        found = [(name, sock) for name, sock in inherited
                 if (name == want.name if named else want.address.port) and sock.type == want.kind
                 and _is_at(sock, want.address)]
        if found:
            for each in found:
                inherited.remove(each)
            return [sock for _, sock in found]
    return []


def _is_at(sock: socket.socket, address: Address) -> bool:
    host, port = sock.getsockname()[:2]
    if address.port not in (0, port):
        return False
    try:
        return host in {info[4][0] for info in _resolve(*address)}
    except (OSError, UnicodeError):
        return False


def _listening(want: Wanted) -> socket.socket:
    try:
        return listen(*want.address, want.kind)
    except (OSError, UnicodeError) as error:
        raise InvalidConfig(f"{want.place}: {reason(error)}") from None


def _one_more(first: socket.socket, want: Wanted) -> socket.socket:
    """Return a further socket at the address of `first`, which shares its connections from now on.

    The first one of a group is bound without SO_REUSEPORT, so that an address in use by another process is an error and
    not a silent share of its traffic; the kernel asks for the option only when the second one is bound.
    """
    sock = socket.socket(first.family, first.type, first.proto)
    try:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return _bound(sock, first.getsockname())
    except OSError as error:
        sock.close()
        raise InvalidConfig(f"{want.place}: {reason(error)}") from None


def listen(host: str, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Return a non-blocking socket that listens, or is bound if it is for datagrams; raises OSError or UnicodeError.

    A name of several addresses gets the first that this host has, IPv4 before IPv6: what clients can do without.
    """
    failure: OSError = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, _, _, _, address in sorted(_resolve(host, port), key=lambda info: info[0] != socket.AF_INET):
        sock = socket.socket(family, kind)
        try:
            return _bound(sock, address)
        except OSError as error:
            sock.close()
            failure = error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
    raise failure


def _resolve(host: str, port: int) -> list[tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)  # type: ignore[return-value]


def _bound(sock: socket.socket, address: tuple[object, ...]) -> socket.socket:
    if sock.type == socket.SOCK_STREAM:  # with UDP it would let another process have the port as well
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if sock.type == socket.SOCK_DGRAM and address[1] == 0:
        _bind_by_number(sock, address)
    else:
        sock.bind(address)
    if sock.type == socket.SOCK_STREAM:
        sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _bind_by_number(sock: socket.socket, address: tuple[object, ...]) -> None:
    """Have the kernel choose a port and bind `sock` to that number.

    A UDP socket that was bound to port 0 loses its port when it was connected and no longer is; the relay does that.
    Another socket holds the number until both have it.
    """
    with socket.socket(sock.family, sock.type) as first:
        first.bind(address)
        for each in (first, sock):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(first.getsockname())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


def reason(error: OSError | UnicodeError) -> str:
    """Return why, in the operating system's words and without an address: `address already in use`.

    UnicodeError is what a host name with an empty or an overlong label ends in.
    """
    if isinstance(error, UnicodeError):
        return "not a host name"
    # getaddrinfo's own numbers are negative.
    text = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    return text[:1].lower() + text[1:]
