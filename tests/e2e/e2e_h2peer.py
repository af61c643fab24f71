"""An independent HTTP/2 peer for the end-to-end tests: the `h2` package over plain sockets, both roles.

What lives here: one connection driven step by step, and a server whose connections follow a script. What this must not
know: the mesh's own codec.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

Headers = Iterable[tuple[bytes, bytes]]
E = TypeVar("E", bound=h2.events.Event)
GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]
POST = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/")]
DEADLINE = 10.0


class Gone(Exception):
    """The peer closed the connection."""


class Peer:
    """One connection. Events that nobody has waited for yet are kept in order."""

    def __init__(self, sock: socket.socket, client: bool,
                 settings: dict[h2.settings.SettingCodes, int] | None = None) -> None:
        self.sock = sock
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=client, header_encoding=None, validate_outbound_headers=False,
            normalize_outbound_headers=False, normalize_inbound_headers=False))
        self.events: list[h2.events.Event] = []
        self.closed = False
        # In the first SETTINGS; the table size in a second one, because it must not hold before the peer knows of it.
        settings = dict(settings or {})
        table = settings.pop(h2.settings.SettingCodes.HEADER_TABLE_SIZE, None)
        self.h2.local_settings.update(settings)
        self.h2.local_settings.acknowledge()
        self.h2.initiate_connection()
        if table is not None:
            self.h2.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: table})
        self.flush()

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            self.sock.sendall(data)

    def raw(self, data: bytes) -> None:
        """Bytes that the h2 package would not send."""
        self.flush()
        self.sock.sendall(data)

    def read(self, timeout: float) -> bool:
        """Take what has come; False when nothing did in time."""
        self.flush()
        self.sock.settimeout(max(timeout, 0.001))
        try:
            data = self.sock.recv(1 << 20)
        except TimeoutError:
            return False
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            raise Gone
        self.events += self.h2.receive_data(data)
        self.flush()
        return True

    def wait(self, kind: type[E], stream: int | None = None, timeout: float = DEADLINE) -> E:
        """Return (and drop) the first event of this kind, of this stream if given."""
        deadline = time.monotonic() + timeout
        while True:
            for event in self.events:
                if isinstance(event, kind) and (stream is None or getattr(event, "stream_id", None) == stream):
                    self.events.remove(event)
                    return event
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no {kind.__name__} within {timeout:g} s, only {self.events}")
            self.read(left)

    def body(self, stream: int, timeout: float = DEADLINE) -> bytes:
        """Read a stream to its end, giving windows back."""
        parts = []
        deadline = time.monotonic() + timeout
        while True:
            for event in list(self.events):
                if getattr(event, "stream_id", None) != stream:
                    continue
                if isinstance(event, h2.events.DataReceived):
                    self.events.remove(event)
                    parts.append(event.data)
                    if event.flow_controlled_length:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.StreamEnded):
                    self.events.remove(event)
                    self.flush()
                    return b"".join(parts)
                elif isinstance(event, h2.events.StreamReset):
                    raise Gone(f"stream {stream} reset with {event.error_code}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"stream {stream} did not end; {sum(map(len, parts))} bytes came")
            self.read(left)

    def send_all(self, stream: int, data: bytes, end: bool = True, pad: int | None = None) -> None:
        """Send within the peer's windows."""
        at = 0
        overhead = 0 if pad is None else pad + 1
        while at < len(data):
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size) - overhead
            if room <= 0:
                if not self.read(DEADLINE):
                    raise TimeoutError(f"the window of stream {stream} stays shut at {at} of {len(data)}")
                continue
            self.h2.send_data(stream, data[at:at + room], pad_length=pad)
            at += room
            self.flush()
        if end:
            self.h2.end_stream(stream)
            self.flush()

    def request(self, headers: Headers, end: bool = True) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, list(headers), end_stream=end)
        self.flush()
        return stream

    def pretend_request(self, headers: Headers) -> bytes:
        """Count a request (without body) as sent and return its header block, which goes out by `raw()`."""
        self.flush()
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, list(headers), end_stream=True)
        return self.h2.data_to_send()[9:]

    def respond(self, stream: int, headers: Headers = ((b":status", b"200"),), body: bytes = b"",
                trailers: Headers = ()) -> None:
        trailers = list(trailers)
        self.h2.send_headers(stream, list(headers), end_stream=not body and not trailers)
        if body:
            self.send_all(stream, body, end=not trailers)
        if trailers:
            self.h2.send_headers(stream, trailers, end_stream=True)
        self.flush()

    def answer(self, stream: int) -> tuple[dict[bytes, bytes], bytes]:
        """Response headers and whole body."""
        response = self.wait(h2.events.ResponseReceived, stream)
        return dict(response.headers), self.body(stream)

    def close(self) -> None:
        self.sock.close()


Script = Callable[[Peer], None]


class Backend:
    """A server; each connection runs `script(peer)` in a thread until it returns or the peer goes."""

    def __init__(self, script: Script, settings: dict[h2.settings.SettingCodes, int] | None = None) -> None:
        self.script = script
        self.settings = settings
        self.connections = 0
        self.errors: list[BaseException] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port: int = self._listener.getsockname()[1]
        self._stop = threading.Event()
        self._peers: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            self._peers.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            self.script(Peer(sock, False, self.settings))
        except (Gone, OSError):
            pass
        except BaseException as error:  # shown by the test
            self.errors.append(error)
        finally:
            sock.close()

    def close(self) -> None:
        self._stop.set()
        for sock in self._peers:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()
        if self.errors:
            raise self.errors[0]


def serve(respond: Callable[[Peer, h2.events.RequestReceived], Any]) -> Script:
    """A script that calls `respond` for each request."""
    def script(peer: Peer) -> None:
        while True:
            respond(peer, peer.wait(h2.events.RequestReceived, timeout=60))

    return script

