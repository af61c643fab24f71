"""Calls that do not come back are brought back: by the real timer, and in its handler with a clock of the test's."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.dataplane.watchdog import PATIENCE, TICK, Interrupted, Watchdog

ROOT = Path(__file__).parents[3]
CHILD = """
import sys
from mesh.dataplane import watchdog as module
from mesh.dataplane.watchdog import Interrupted, Watchdog
module.STUCK = 0.2
watchdog = Watchdog()
watchdog.install()
{what}
try:
    watchdog.call(stuck)
except Interrupted:
    sys.exit(3)
sys.exit(4)
"""


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    made = Watchdog()
    made.install()
    yield made
    made.uninstall()


def for_ever() -> None:
    while True:
        pass


def test_what_returns_is_passed_on(watchdog: Watchdog) -> None:
    assert watchdog.call(int, "7") == 7
    with pytest.raises(ValueError, match="invalid literal"):
        watchdog.call(int, "x")


@pytest.mark.parametrize("stuck", [for_ever, lambda: time.sleep(3600), lambda: threading.Event().wait()],
                         ids=["a loop", "a sleep", "a lock"])
def test_what_does_not_return_is_interrupted_and_all_goes_on(watchdog: Watchdog, stuck: Any) -> None:
    for _ in range(3):
        with pytest.raises(Interrupted):
            watchdog.call(stuck)
        assert watchdog.call(int, "7") == 7


def test_catching_exceptions_does_not_help(watchdog: Watchdog) -> None:
    def stuck() -> None:
        while True:
            with contextlib.suppress(Exception):
                for_ever()

    with pytest.raises(Interrupted):
        watchdog.call(stuck)


def test_nobody_is_interrupted_between_calls(watchdog: Watchdog) -> None:
    watchdog.call(int, "7")
    deadline = time.monotonic() + 60
    while signal.getitimer(signal.ITIMER_REAL)[0] > 0.0 and time.monotonic() < deadline:
        pass  # the timer goes off in here
    watchdog.call(int, "7")
    deadline = time.monotonic() + 60
    while watchdog._armed and time.monotonic() < deadline:
        pass
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0.0  # it rests
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0.0


class Ticks:
    """A watchdog with clocks of the test's, which also says when its timer goes off."""

    def __init__(self) -> None:
        self.wall = 100.0
        self.cpu = 5.0
        self.watchdog = Watchdog(lambda: self.wall, lambda: self.cpu)
        self.watchdog.install()

    def tick(self, wall: float = TICK, cpu: float = 0.0) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.wall += wall
        self.cpu += cpu
        self.watchdog._on_alarm(signal.SIGALRM, None)
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture
def ticks() -> Iterator[Ticks]:
    made = Ticks()
    yield made
    made.watchdog.uninstall()


def test_who_computes_is_interrupted_at_the_second_tick(ticks: Ticks) -> None:
    def computes() -> None:
        ticks.tick(cpu=1.0)  # what was computed before the first one may have been somebody else's
        done.append(1)
        ticks.tick(cpu=TICK)
        done.append(2)

    done: list[int] = []
    with pytest.raises(Interrupted):
        ticks.watchdog.call(computes)
    assert done == [1]


def test_who_has_lost_the_processor_is_left_alone_for_a_while(ticks: Ticks) -> None:
    def waits(seconds: float) -> str:
        ticks.tick()
        ticks.tick(seconds, cpu=TICK / 100)
        return "back"

    assert ticks.watchdog.call(waits, PATIENCE * 0.9) == "back"
    with pytest.raises(Interrupted):
        ticks.watchdog.call(waits, PATIENCE * 1.1)


def test_who_is_slow_on_the_way_out_is_not_interrupted_there(ticks: Ticks) -> None:
    """The machine takes its time between an interruption and what follows it: another one would hit the watchdog."""
    def computes() -> None:
        ticks.tick()
        try:
            ticks.tick(cpu=TICK)
        finally:
            for _ in range(5):
                ticks.tick(10.0, cpu=TICK / 100)
                done.append(1)

    done: list[int] = []
    with pytest.raises(Interrupted):
        ticks.watchdog.call(computes)
    assert done == [1] * 5


def test_who_goes_on_after_an_interruption_is_interrupted_again(ticks: Ticks) -> None:
    def computes() -> None:
        ticks.tick()
        with contextlib.suppress(Interrupted):
            ticks.tick(cpu=TICK)
        done.append(1)
        ticks.tick(cpu=TICK)
        done.append(2)

    done: list[int] = []
    with pytest.raises(Interrupted):
        ticks.watchdog.call(computes)
    assert done == [1]


def test_each_call_has_its_own_time(ticks: Ticks) -> None:
    for _ in range(10):
        ticks.watchdog.call(ticks.tick, TICK, TICK)


@pytest.mark.slow
@pytest.mark.parametrize("what", [
    "def stuck():\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
    "def stuck():\n    return sum(range(10 ** 15))"], ids=["catches all", "computes in C"])
def test_what_can_not_be_interrupted_ends_the_process(what: str) -> None:
    child = subprocess.run([sys.executable, "-c", CHILD.format(what=what)], cwd=ROOT, timeout=120, capture_output=True)
    # What catches everything can be caught itself between two tries.
    assert child.returncode in ((-signal.SIGVTALRM,) if "sum" in what else (-signal.SIGVTALRM, 3)), child.stderr


def test_the_end_of_the_process_is_not_in_its_way() -> None:
    for _ in range(5):
        stuck = "def stuck():\n    return 7"
        child = subprocess.run([sys.executable, "-c", CHILD.format(what=stuck)], cwd=ROOT, timeout=120)
        assert child.returncode == 4
