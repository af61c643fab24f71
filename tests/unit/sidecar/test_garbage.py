"""The collector's rhythm: full collections when it is quiet, or when it must be, and no garbage without a bound."""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from mesh.sidecar import garbage as module
from mesh.sidecar.garbage import Collector


class Loop:
    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        self.due.append(callback)
        return SimpleNamespace(cancel=lambda: self.due.remove(callback))

    def look(self) -> None:
        callback = self.due.pop()
        callback()
        assert len(self.due) == 1


class Circle:
    alive = 0

    def __init__(self) -> None:
        self.self = self
        Circle.alive += 1

    def __del__(self) -> None:
        Circle.alive -= 1


@pytest.fixture
def loop() -> Iterator[Loop]:
    before = gc.get_threshold()
    Circle.alive = 0
    yield Loop()
    gc.set_threshold(*before)
    gc.unfreeze()
    gc.collect()


def collector(loop: Loop, quiet: bool) -> Collector:
    hub = SimpleNamespace(active_at=time.monotonic() + (-1000 if quiet else 1000))
    made = Collector(loop, hub)  # type: ignore[arg-type]
    made.start()
    return made


def survive() -> None:
    """Make a circle that outlives a young collection."""
    circle = Circle()
    gc.collect(0)
    del circle


def test_all_that_there_is_at_the_start_is_left_alone(loop: Loop) -> None:
    before = gc.get_freeze_count()
    collector(loop, quiet=True)
    assert gc.get_freeze_count() > before
    assert gc.isenabled()
    assert gc.get_threshold() == (module.YOUNG, module.MIDDLE, module._NEVER)


def test_when_it_is_quiet_everything_new_is_looked_at_once(loop: Loop) -> None:
    made = collector(loop, quiet=True)
    loop.look()
    assert made.full == 0, "nothing is new"
    survive()
    loop.look()
    assert (made.full, Circle.alive) == (1, 0)
    assert made.freed >= 1
    loop.look()
    assert made.full == 1
    assert made.statistics() == {"full": 1, "freed": made.freed, "longest": round(made.longest, 6)}
    made.stop()
    made.stop()
    assert loop.due == []


def test_in_the_middle_of_traffic_only_the_young_are_looked_at(loop: Loop) -> None:
    made = collector(loop, quiet=False)
    survive()
    loop.look()
    assert (made.full, Circle.alive) == (0, 1)
    for _ in range(module.MOST - 1):
        gc.collect(1)
    loop.look()
    assert made.full == 0
    gc.collect(1)
    loop.look()
    assert (made.full, Circle.alive) == (1, 0)


def test_garbage_has_a_bound_though_it_is_never_quiet(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("YOUNG", 100), ("MIDDLE", 3), ("MOST", 2)):
        monkeypatch.setattr(module, name, value)
    made = collector(loop, quiet=False)
    held: deque[Circle] = deque(maxlen=500)  # old enough to have left both young generations
    most = 0
    for number in range(20_000):
        held.append(Circle())
        if number % 100 == 0:
            loop.look()
        most = max(most, Circle.alive)
    assert made.full > 5
    assert most < 500 + 100 * (3 + 1) * (2 + 1) + 200, "what is held, and what the rhythm leaves for later"
