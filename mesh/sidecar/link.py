"""Messages between the workers of a sidecar and their parent: JSON lines over a pair of sockets, with descriptors.

What lives here: framing, and waiting until the other side takes more. What this must not know: what is said.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from mesh.sidecar.sockets import Named

_CHUNK = 262_144
_DESCRIPTORS = 253  # the kernel passes at most so many at once (SCM_MAX_FD)


class Loop(Protocol):
    """The part of an event loop that is needed here and in `takeover`."""

    def add_reader(self, fd: int, callback: Callable[..., object], /, *args: Any) -> object: ...

    def remove_reader(self, fd: int, /) -> object: ...

    def add_writer(self, fd: int, callback: Callable[..., object], /, *args: Any) -> object: ...

    def remove_writer(self, fd: int, /) -> object: ...


class Link:
    """One end. `on_message(message, sockets)` is called for each message that comes, `on_end()` once when none will.

    The sockets that came with a message are named by its `sockets` key and belong to who is called.
    """

    def __init__(self, loop: Loop, sock: socket.socket, on_message: Callable[[dict[str, Any], list[Named]], object],
                 on_end: Callable[[], object]) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._on_message = on_message
        self._on_end = on_end
        self._partial = b""
        self._came: list[int] = []
        self._waiting: list[tuple[bytes, list[int]]] = []
        self._open = True
        loop.add_reader(sock.fileno(), self._readable)

    def send(self, message: dict[str, Any], sockets: Iterable[Named] = ()) -> None:
        """Send; what the other side does not take at once is sent later. After the end nothing happens."""
        if not self._open:
            return
        named = list(sockets)
        if named:
            message = {**message, "sockets": [name for name, _ in named]}
        # Duplicates: the caller may close its own before they are sent.
        descriptors = [os.dup(sock.fileno()) for _, sock in named]
        self._waiting.append((json.dumps(message).encode() + b"\n", descriptors))
        if len(self._waiting) == 1:
            self._write()

    def close(self) -> None:
        """Say and hear no more."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
            for descriptor in (*self._came, *(each for _, waiting in self._waiting for each in waiting)):
                os.close(descriptor)
            self._waiting.clear()
            self._came.clear()

    def _write(self) -> None:
        while self._waiting:
            data, descriptors = self._waiting[0]
            try:
                sent = socket.send_fds(self._sock, [data], descriptors) if descriptors else self._sock.send(data)
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._write)
                return
            except OSError:
                self._end()
                return
            for descriptor in descriptors:
                os.close(descriptor)
            if sent < len(data):
                self._waiting[0] = (data[sent:], [])
            else:
                del self._waiting[0]
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._sock, _CHUNK, _DESCRIPTORS)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        self._came += descriptors
        if not data:
            self._end()
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            names = message.get("sockets", ())
            sockets = [(name, socket.socket(fileno=self._came.pop(0))) for name in names]
            self._on_message(message, sockets)
            if not self._open:
                return

    def _end(self) -> None:
        if self._open:
            self.close()
            self._on_end()
