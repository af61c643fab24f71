"""The rhythm of the collector, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from controlplane import garbage


@pytest.fixture(autouse=True)
def _collector_as_before() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


def looks(monkeypatch: pytest.MonkeyPatch, seconds: float, allocated: int = 0) -> list[tuple[float, int]]:
    """Let `seconds` go by, one by one; return when the collector ran, and up to which generation."""
    now = 0.0
    seen: list[tuple[float, int]] = []
    states: list[bool] = []

    async def sleep(duration: float) -> None:
        nonlocal now
        states.append(gc.isenabled())
        now += duration
        if now > seconds:
            raise asyncio.CancelledError

    async def main() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        with pytest.raises(asyncio.CancelledError):
            await garbage.collect_in_pauses()

    with monkeypatch.context() as patched:
        patched.setattr(garbage.asyncio, "sleep", sleep)
        patched.setattr(garbage.gc, "collect", lambda generation=2: seen.append((now, generation)))
        patched.setattr(garbage.gc, "get_count", lambda: (allocated, 0, 0))
        asyncio.run(main())
    assert not any(states), "the automatic collector is off meanwhile"
    assert gc.isenabled(), "and on again afterwards"
    return seen


def test_young_objects_every_ten_seconds_everything_every_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = looks(monkeypatch, 615)
    assert seen[:3] == [(10, 1), (20, 1), (30, 1)]
    assert [at for at, generation in seen if generation == 2] == [600]
    assert seen[-1] == (610, 1)


def test_many_new_objects_are_looked_at_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks(monkeypatch, 3, allocated=garbage.MANY + 1) == [(1, 1), (2, 1), (3, 1)]
    assert looks(monkeypatch, 3, allocated=garbage.MANY) == []
