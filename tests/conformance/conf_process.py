"""Real processes as those who are judged: connections to them and from them.

What lives here: the wire over a socket, an endpoint that waits for one connection. What this must not know: frames.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

import h2.events
import h2.exceptions
from conf_peer import BODY, HEADERS, Case, Peer, Silence
from e2e_h2peer import Peer as H2Peer
from e2e_mesh import Mesh, service

from mesh.v1 import endpoint_pb2


class TcpWire:
    """A connection to a process. What is due comes within `patience` seconds."""

    patience = 10.0

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(self.patience)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, octets: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # the other side may have ended it, and what it said is to be read
            self.sock.sendall(octets)

    def read(self) -> bytes:
        try:
            return self.sock.recv(65_536)
        except TimeoutError:
            raise Silence from None
        except ConnectionResetError as error:
            raise AssertionError("the end of the connection destroyed what was said before it") from error


def dial(host: str, port: int) -> TcpWire:
    return TcpWire(socket.create_connection((host, port), timeout=TcpWire.patience))


class Endpoint:
    """A port where one connection is waited for."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TcpWire.patience)
        self.port: int = self._listener.getsockname()[1]

    def accept(self) -> TcpWire:
        sock, _ = self._listener.accept()
        self._listener.close()
        return TcpWire(sock)


@dataclass
class Backing:
    """What a sidecar needs to know of the app that it stands before."""

    address: str


def answering(peer: H2Peer) -> None:
    """Answers each request once it is complete."""
    methods: dict[int, bytes] = {}
    while True:
        peer.read(60)
        events, peer.events = peer.events, []
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                methods[event.stream_id] = dict(event.headers)[b":method"]
            elif isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                peer.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                with contextlib.suppress(h2.exceptions.StreamClosedError):  # the caller may have gone
                    peer.respond(event.stream_id, body=b"" if methods[event.stream_id] == b"HEAD" else BODY)


def play_as_endpoint(mesh: Mesh, port: tuple[str, int], case: Case, name: str) -> None:
    """Play a client's case: a service of this name whose endpoint we are, called through the outbound port."""
    endpoint = Endpoint()
    mesh.apply(service(name, "HTTP2", retry={"max_attempts": 1}), endpoints=[
        endpoint_pb2.Endpoint(service=name, name=f"{name}-0", host="127.0.0.1", port=endpoint.port)])  # fmt: skip
    caller_wire = dial(*port)
    try:
        caller = Peer(caller_wire, authority=name.encode())
        caller.handshake()
        caller.headers(1)
        wire = endpoint.accept()
        try:
            judge = Peer(wire, server=True)
            judge.handshake()
            if not any(frame.kind == HEADERS for frame in judge.seen):
                judge.until(lambda frame: frame.kind == HEADERS, "the request")
            case.run(judge)
            case.verdict(judge)
        finally:
            wire.sock.close()
    finally:
        caller_wire.sock.close()
