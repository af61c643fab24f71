"""Where this process accepts: one door per listening option, over one or several sockets at one address.

What lives here: which of the sockets this process accepts from. What this must not know: what is done with what comes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

from mesh.dataplane.listener import Port
from mesh.dataplane.reactor import Reactor
from mesh.sidecar.sockets import Named, Sockets

Accept = Callable[[int, str, int], None]


class Door:
    """All sockets of one option that this process accepts from; `accept` takes each connection, see `Port`."""

    def __init__(self, reactor: Reactor, socks: Iterable[socket.socket], accept: Accept) -> None:
        self._reactor = reactor
        self._accept = accept
        self._ports = [Port(reactor, sock, accept) for sock in socks]
        self._lent: dict[int, Port] = {}
        self._text = str(self._ports[0])
        self.open = False
        self.address = self._ports[0].address

    def start(self) -> None:
        """Accept from now on. What has connected before waits in the backlog and is served too."""
        self.open = True
        for port in self._ports:
            port.start()

    def lend(self, slot: int, sock: socket.socket) -> None:
        """Accept from the socket of a worker that has died too."""
        self.take_back(slot)
        if self.open:
            self._lent[slot] = Port(self._reactor, sock, self._accept)
            self._lent[slot].start()
        else:
            sock.close()

    def take_back(self, slot: int) -> None:
        """That worker is there again."""
        port = self._lent.pop(slot, None)
        if port is not None:
            port.close()

    def close(self) -> None:
        """Accept no more; connections go on. May be called twice."""
        self.open = False
        for port in (*self._ports, *self._lent.values()):
            port.close()

    def __str__(self) -> str:
        return self._text


class Doors:
    """All doors of this process, by the names that `Sockets` gives."""

    def __init__(self, reactor: Reactor, sockets: Sockets) -> None:
        self._reactor = reactor
        self._sockets = sockets
        self._doors: dict[str, Door] = {}

    def add(self, name: str, accept: Accept) -> Door:
        """Make the door `name`; it opens with the others."""
        door = self._doors[name] = Door(self._reactor, self._sockets[name], accept)
        return door

    def start(self) -> None:
        """Accept from now on, everywhere."""
        for door in self._doors.values():
            door.start()

    def lend(self, slot: int, sockets: Iterable[Named]) -> None:
        """Accept at the sockets of slot number `slot` too."""
        for name, sock in sockets:
            self._doors[name].lend(slot, sock)

    def take_back(self, slot: int) -> None:
        """Accept no more at the sockets of slot number `slot`."""
        for door in self._doors.values():
            door.take_back(slot)
