"""What connections of one loop share."""

from __future__ import annotations

from mesh.balance.rng import Rng
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder


def test_the_hubs_wall_clock_follows_the_systems() -> None:
    now, wall = [10.0], [1_000_000_000_000]
    hub = Hub(None, Rng(1), Recorder(), lambda: now[0], lambda: wall[0])
    now[0] = 10.5
    hub.touch()
    assert hub.now == 10.5
    wall[0] = 5_000_000_000_000  # the clock was set
    now[0] = 12.0
    hub.touch()
    assert hub.now == 12.0
