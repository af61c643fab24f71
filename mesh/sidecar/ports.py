"""Where this process accepts: one door per listening option, over one or several sockets at one address.

What lives here: which of the sockets this process accepts from. What this must not know: what is done with what comes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any

from mesh.dataplane.listener import Port


class Door:
    """All sockets of one option that this process accepts from; `accept` makes the protocol of each connection."""

    def __init__(self, socks: Iterable[socket.socket], accept: Callable[[], Any]) -> None:
        self._accept = accept
        self._ports = [Port(sock, accept) for sock in socks]
        self._text = str(self._ports[0])
        self.address = self._ports[0].address
        self.open = False

    def start(self) -> None:
        """Accept from now on. What has connected before waits in the backlog and is served too."""
        self.open = True
        for port in self._ports:
            port.start()

    async def close(self) -> None:
        """Accept no more; connections go on, those included that were accepted just now. May be called twice."""
        self.open = False
        for port in self._ports:
            port.close()
        # A connection that the loop has accepted reaches its protocol in the loop's next turn: who drains after this
        # call finds it among the others.
        await asyncio.sleep(0)

    def __str__(self) -> str:
        return self._text
