"""A stage for the HTTP/2 tests: one sidecar, services whose endpoints are scripts, callers that dial its shared port.

What lives here: Stage and the small scripts that several tests use. What this must not know: what a test asserts.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from typing import Any

import h2.events
from e2e_h2peer import Backend, Headers, Peer, Script
from e2e_mesh import Mesh, service
from e2e_processes import Sidecar
from h2.settings import SettingCodes

from mesh.v1 import endpoint_pb2

OK = [(b":status", b"200")]


class Stage:
    """A caller and its endpoints. `name` is the service and goes into `:authority`."""

    def __init__(self, sidecar: Sidecar, name: str, backends: list[Backend], dialled: list[Peer]) -> None:
        self.sidecar = sidecar
        self.name = name
        self.backends = backends
        self._dialled = dialled

    def dial(self, **settings: int) -> Peer:
        host, port = self.sidecar.shared.rsplit(":", 1)
        sock = socket.create_connection((host, int(port)), timeout=10)
        peer = Peer(sock, True, {SettingCodes[name]: value for name, value in settings.items()})
        self._dialled.append(peer)
        return peer

    def head(self, base: Headers, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        return [*base, (b":authority", self.name.encode()), *more]


class Stager:
    """Makes stages: services of protocol HTTP2 (or another) with one endpoint per script."""

    numbers: Iterator[int] = itertools.count()

    def __init__(self, mesh: Mesh, sidecar: Sidecar) -> None:
        self._mesh = mesh
        self._sidecar = sidecar
        self._backends: list[Backend] = []
        self._dialled: list[Peer] = []

    def __call__(self, *scripts: Script, protocol: str = "HTTP2", settings: dict[SettingCodes, int] | None = None,
                 **policies: dict[str, Any]) -> Stage:
        name = f"raw-{next(self.numbers)}"
        backends = [Backend(script, settings) for script in scripts]
        self._backends += backends
        self._mesh.apply(service(name, protocol, **policies), endpoints=[
            endpoint_pb2.Endpoint(service=name, name=f"{name}-{n}", host="127.0.0.1", port=backend.port)
            for n, backend in enumerate(backends)])
        return Stage(self._sidecar, name, backends, self._dialled)

    def close(self) -> None:
        """Hang up, stop the endpoints (raising what their scripts raised), and see that nothing is left open."""
        for peer in self._dialled:
            peer.close()
        for backend in self._backends:
            backend.close()
        self._sidecar.wait_idle()


def reset_code(peer: Peer, stream: int) -> int:
    return int(peer.wait(h2.events.StreamReset, stream).error_code)


def echo(peer: Peer, request: h2.events.RequestReceived) -> None:
    """Headers `x-*` and the body back, trailers too."""
    body = peer.body(request.stream_id)
    trailers = [header for event in peer.events if isinstance(event, h2.events.TrailersReceived)
                for header in event.headers]
    headers = [header for header in request.headers if header[0].startswith(b"x-")]
    peer.respond(request.stream_id, [*OK, *headers], body, trailers)
