"""Where this process accepts: one door per listening option, over one or several sockets at one address.

What lives here: which of the sockets this process accepts from. What this must not know: what is done with what comes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

from mesh.dataplane.listener import Port
from mesh.dataplane.reactor import Reactor


class Door:
    """All sockets of one option that this process accepts from; `accept` takes each connection, see `Port`."""

    def __init__(self, reactor: Reactor, socks: Iterable[socket.socket],
                 accept: Callable[[int, str, int], None]) -> None:
        self._ports = [Port(reactor, sock, accept) for sock in socks]
        self._text = str(self._ports[0])
        self.address = self._ports[0].address
        self.open = False

    def start(self) -> None:
        """Accept from now on. What has connected before waits in the backlog and is served too."""
        self.open = True
        for port in self._ports:
            port.start()

    def close(self) -> None:
        """Accept no more; connections go on. May be called twice."""
        self.open = False
        for port in self._ports:
            port.close()

    def __str__(self) -> str:
        return self._text
