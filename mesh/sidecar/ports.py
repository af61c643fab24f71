"""Where this process accepts: one door per listening option, over one or several sockets at one address.

What lives here: which of the sockets this process accepts from. What this must not know: what is done with what comes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

from mesh.dataplane.listener import Port
from mesh.dataplane.reactor import Reactor
from mesh.dataplane.udp import UdpProxy
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


class DatagramDoor:
    """The same for datagrams: there are no connections, and who has the socket may read."""

    def __init__(self, socks: Iterable[socket.socket], proxy: UdpProxy) -> None:
        self._socks = list(socks)
        self._proxy = proxy
        self._lent: dict[int, socket.socket] = {}
        self.address: tuple[str, int] = self._socks[0].getsockname()[:2]
        self.open = False
        self._started = False

    def start(self) -> None:
        """Read from now on. What has come before waits in the kernel, as far as there was room, and is served too."""
        self.open = self._started = True
        for sock in self._socks:
            self._proxy.listen(sock)

    def lend(self, slot: int, sock: socket.socket) -> None:
        """Read the socket of a worker that has died too."""
        self.take_back(slot)
        if self.open:
            self._lent[slot] = sock
            self._proxy.listen(sock)
        else:
            sock.close()

    def take_back(self, slot: int) -> None:
        """That worker is there again."""
        sock = self._lent.pop(slot, None)
        if sock is not None:
            self._proxy.forget(sock)

    def close(self) -> None:
        """Read no more; sessions are still given what their endpoints say. May be called twice."""
        self.open = False
        self._proxy.stop_reading()
        if not self._started:
            for sock in self._socks:
                sock.close()

    def __str__(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Doors:
    """All doors of this process, by the names that `Sockets` gives."""

    def __init__(self, reactor: Reactor, sockets: Sockets) -> None:
        self._reactor = reactor
        self._sockets = sockets
        self._doors: dict[str, Door | DatagramDoor] = {}

    def add(self, name: str, accept: Accept) -> Door:
        """Make the door `name`; it opens with the others."""
        door = self._doors[name] = Door(self._reactor, self._sockets[name], accept)
        return door

    def add_datagrams(self, name: str, proxy: UdpProxy) -> DatagramDoor:
        """The same for a name whose sockets are for datagrams; KeyError where there are none."""
        door = self._doors[name] = DatagramDoor(self._sockets[name], proxy)
        return door

    def has(self, name: str) -> bool:
        """Whether there are sockets of this name."""
        return bool(self._sockets.get(name))

    def start(self) -> None:
        """Accept from now on, everywhere."""
        for door in self._doors.values():
            door.start()

    def leave_datagrams(self) -> None:
        """Read none any more: another process has the same sockets, and sessions are each process's own."""
        for door in self._doors.values():
            if isinstance(door, DatagramDoor):
                door.close()

    def lend(self, slot: int, sockets: Iterable[Named]) -> None:
        """Accept at the sockets of slot number `slot` too."""
        for name, sock in sockets:
            self._doors[name].lend(slot, sock)

    def take_back(self, slot: int) -> None:
        """Accept no more at the sockets of slot number `slot`."""
        for door in self._doors.values():
            door.take_back(slot)
