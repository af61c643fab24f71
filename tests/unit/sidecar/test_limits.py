"""The configuration's limits in the data path's terms."""

from __future__ import annotations

from mesh.dataplane.acceptor import Limits
from mesh.sidecar.config import load
from mesh.sidecar.limits import crowd, patience


def test_what_is_not_said_is_the_data_paths_default() -> None:
    assert patience(load(["--service", "web"], {})) == Limits()


def test_what_is_said_arrives() -> None:
    config = load(["--service", "web", "--header-timeout", "2s", "--progress-timeout", "3s", "--idle-timeout", "4s",
                   "--max-connections", "7", "--max-connections-per-source", "5"], {})
    limits = patience(config)
    assert (limits.header, limits.progress, limits.idle) == (2, 3, 4)
    assert (crowd(config).most, crowd(config).most_per_source) == (7, 5)
