"""The sidecar's listening sockets: bound in one place, named by their option, before anything else is built.

What lives here: which sockets a configuration asks for, binding them, and one line that names the option when an
address can't be had. What this must not know: who accepts from them and what arrives.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import NamedTuple

from mesh.errors import InvalidConfig
from mesh.sidecar.config import Address, SidecarConfig

# The kernel cuts it to net.core.somaxconn, 4096 since Linux 5.4.
BACKLOG = 4096


class Wanted(NamedTuple):
    """A socket that a configuration asks for. `name` is `inbound`, `outbound <service>` or `outbound-shared`.

    `place` is the option as given, for messages.
    """

    name: str
    place: str
    address: Address


def wanted(config: SidecarConfig) -> Iterator[Wanted]:
    """Every listening socket of a sidecar that runs with `config`."""
    if config.app is not None:
        yield Wanted("inbound", f"--inbound {config.inbound}", config.inbound)
    for each in config.outbound:
        yield Wanted(f"outbound {each.service}", f"--outbound {each}", each.address)
    if config.outbound_shared is not None:
        yield Wanted("outbound-shared", f"--outbound-shared {config.outbound_shared}", config.outbound_shared)


class Sockets:
    """Bound and listening sockets by name; whoever accepts from one owns it."""

    def __init__(self, by_name: dict[str, socket.socket]) -> None:
        self._by_name = by_name

    @classmethod
    def bind(cls, config: SidecarConfig) -> Sockets:
        """Bind all that `config` asks for, or nothing. InvalidConfig begins with the option that can't be had."""
        bound = cls({})
        try:
            for each in wanted(config):
                bound._by_name[each.name] = _listening(each)
        except BaseException:
            bound.close()
            raise
        return bound

    def __getitem__(self, name: str) -> socket.socket:
        return self._by_name[name]

    def close(self) -> None:
        for sock in self._by_name.values():
            sock.close()


def _listening(want: Wanted) -> socket.socket:
    try:
        return listen(*want.address)
    except (OSError, UnicodeError) as error:
        raise InvalidConfig(f"{want.place}: {reason(error)}") from None


def listen(host: str, port: int) -> socket.socket:
    """Return a non-blocking socket that listens; raises OSError or UnicodeError.

    A name of several addresses gets the first that this host has, IPv4 before IPv6: what clients can do without.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    failure: OSError = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, kind, protocol, _, address in sorted(found, key=lambda info: info[0] != socket.AF_INET):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
            sock.setblocking(False)
            return sock
        except OSError as error:
            sock.close()
            failure = error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
    raise failure


def reason(error: OSError | UnicodeError) -> str:
    """Return why, in the operating system's words and without an address: `address already in use`.

    UnicodeError is what a host name with an empty or an overlong label ends in.
    """
    if isinstance(error, UnicodeError):
        return "not a host name"
    # getaddrinfo's own numbers are negative.
    text = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    return text[:1].lower() + text[1:]
