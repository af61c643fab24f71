"""Fixtures of the end-to-end tests: meshes of real processes, one per module that asks; their logs when a test fails.

What lives here: fixtures and the report hook; the pieces are the e2e_*.py beside this file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from e2e_calls import Client, Load
from e2e_h2stage import Stager
from e2e_mesh import Mesh
from e2e_processes import Process, Sidecar

_meshes: list[Mesh] = []
_LOG_BYTES = 3000


@pytest.fixture(scope="module")
def make_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Mesh]]:
    """Make meshes that live as long as the module's tests."""
    made: list[Mesh] = []

    def make() -> Mesh:
        mesh = Mesh(tmp_path_factory.mktemp("mesh"))
        made.append(mesh)
        _meshes.append(mesh)
        return mesh

    yield make
    errors: list[Exception] = []
    for mesh in made:
        for step in (mesh.check_nothing_is_left, mesh.close):
            try:
                step()
            except Exception as error:  # the others still have to be stopped
                errors.append(error)
        _meshes.remove(mesh)
    if errors:
        raise errors[0]


@pytest.fixture(scope="module")
def mesh(make_mesh: Callable[[], Mesh]) -> Mesh:
    """A control plane, nothing else yet."""
    return make_mesh()


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """Make grpcio clients that are closed when the test ends."""
    made: list[Client] = []

    def make(target: str, *options: tuple[str, Any], **more: Any) -> Client:
        client = Client(target, *options, **more)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture(scope="module")
def raw_web(mesh: Mesh) -> Sidecar:
    """The sidecar that `stage` dials."""
    return mesh.sidecar("web", "web-0", shared=True)


@pytest.fixture
def stage(mesh: Mesh, raw_web: Sidecar) -> Iterator[Stager]:
    """Make services whose endpoints are scripts of raw HTTP/2."""
    stager = Stager(mesh, raw_web)
    yield stager
    stager.close()


@pytest.fixture(scope="session")
def load() -> type[Load]:
    return Load


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Show the end of every process's log with a failure."""
    report = yield
    if report.failed:
        processes: list[Process] = [process for mesh in _meshes for process in mesh.processes]
        for process in processes:
            state = "alive" if process.alive else f"exit code {process.popen.returncode}"
            # Without the statistics that the tests themselves asked for.
            text = "\n".join(line for line in process.tail(20_000).splitlines() if not line.startswith('{"id":'))
            text = text[-_LOG_BYTES:]
            if text.strip() or not process.alive:
                report.sections.append((f"{process.name} ({state})", text))
    return report
