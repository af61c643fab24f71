"""The table of io_layers: which ratio is told, and that nothing that failed is hidden."""

from __future__ import annotations

from typing import Any

import pytest
from io_layers import CASES, line, measure_calm, ratios_of, shown, trouble_of


def samples(*pairs: tuple[float, float]) -> dict[str, list[dict[str, Any]]]:
    return {layer: [{"cpu_us": pair[at], "per_s": 1000.0, "failed": 0, "errors": {}} for pair in pairs]
            for at, layer in enumerate(("reactor", "uvloop"))}


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    found = samples((1.0, 2.0), (9.0, 10.0), (3.0, 4.0))  # a slow minute hits both sides of a round
    assert ratios_of(found) == pytest.approx([0.5, 0.75, 0.9])
    assert "0.75 (0.50-0.90)" in line(CASES[0], found)
    assert shown(found, "uvloop") == "4.00 (2.00-10.0)"


def test_a_side_without_a_figure_makes_no_ratio() -> None:
    found = samples((1.0, 2.0))
    found["uvloop"] = [{"problem": "closed before the answer"}]
    assert ratios_of(found) == []
    assert shown(found, "uvloop") == "–"
    assert trouble_of(found) == ["uvloop: closed before the answer"]


def test_what_failed_is_in_the_line_and_below_it() -> None:
    found = samples((1.0, 2.0), (1.0, 2.0))
    found["reactor"][1].update(failed=3, errors={"not 2xx": 3})
    assert line(CASES[0], found).split()[-1] == "3"
    assert trouble_of(found) == ["reactor: 3 FAILED (not 2xx)"]


def test_a_disturbed_sample_says_so() -> None:
    found = samples((1.0, 2.0))
    found["uvloop"][0]["waited_pct"] = 12.4
    assert trouble_of(found) == ["uvloop: noisy, waited for its core 12 % of the time"]


class Server:
    pids = (1,)


class Scripted:
    """A bench whose samples are given, each with how long the server waited meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *rounds: tuple[int, dict[str, Any]]) -> None:
        self.rounds = list(rounds)
        self.waited = self.clock = 0
        monkeypatch.setattr("io_layers.waited_ns", lambda pid: self.waited)
        monkeypatch.setattr("io_layers.time.monotonic_ns", lambda: self.clock)

    def measure(self, case: object, server: object, seconds: float) -> dict[str, Any]:
        waited, sample = self.rounds.pop(0)
        self.waited += waited
        self.clock += 100
        return sample


def test_a_noisy_sample_is_taken_again_and_its_failures_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    bench: Any = Scripted(monkeypatch, (50, {"cpu_us": 9.0, "failed": 2}), (2, {"cpu_us": 5.0, "failed": 1}))
    server: Any = Server()
    found = measure_calm(bench, CASES[0], server, 1.0)
    assert (found["cpu_us"], found["waited_pct"], found["failed"]) == (5.0, 2.0, 3)
    assert not bench.rounds
