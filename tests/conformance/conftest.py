"""Fixtures of the conformance tests: real sidecars, in front of an app and in front of raw endpoints."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conf_process import Backing, answering
from e2e_h2peer import Backend
from e2e_mesh import Mesh

Port = tuple[str, int]


def port_of(address: str) -> Port:
    host, _, number = address.rpartition(":")
    return host, int(number)


@pytest.fixture(scope="module")
def inbound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    """The inbound port of a sidecar with an app behind it."""
    backend = Backend(answering)
    mesh = Mesh(tmp_path_factory.mktemp("mesh"))
    try:
        backing: object = Backing(f"127.0.0.1:{backend.port}")
        sidecar = mesh.sidecar("cart", "cart-0", app=backing, protocol="http2")  # type: ignore[arg-type]
        yield port_of(sidecar.inbound)
        sidecar.wait_idle()
    finally:
        mesh.close()
        backend.close()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mesh, Port]]:
    """A mesh, and the shared outbound port of a sidecar in it."""
    mesh = Mesh(tmp_path_factory.mktemp("mesh"))
    try:
        sidecar = mesh.sidecar("web", "web-0", shared=True)
        yield mesh, port_of(sidecar.shared)
        sidecar.wait_idle()
    finally:
        mesh.close()
