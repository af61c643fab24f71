"""The plot is written, in both forms, with what it is of."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the extra `simulate` is not installed")

from mesh.cli.simulate_plot import plot
from mesh.errors import InvalidConfig
from mesh.model import Algorithm, BalancePolicy, Service
from mesh.simulate.play import play
from mesh.simulate.report import Summary
from mesh.simulate.scenario import Scenario, scenario_from_document

LABELS = ["round_robin", "peak_ewma"]


def runs(endpoints: int = 3) -> tuple[Scenario, list[Summary]]:
    scenario = scenario_from_document({
        "duration": "2s", "rate": 200,
        "endpoints": [{"name": "e", "count": endpoints, "service_time": "exponential:5ms"}],
        "events": [{"at": "1.5s", "endpoint": f"e-{i}", "state": "dead"} for i in range(3)]})
    return scenario, [play(scenario, Service("any", balance=BalancePolicy(Algorithm(label)))) for label in LABELS]


@pytest.mark.slow
def test_both_forms(tmp_path: Path) -> None:
    scenario, summaries = runs()
    plot(str(tmp_path / "both.svg"), scenario, LABELS, summaries)
    plot(str(tmp_path / "both.png"), *runs(30)[:1], LABELS, summaries)
    svg = (tmp_path / "both.svg").read_text()
    for text in ("round_robin", "peak_ewma", "p99.9", "latency, ms", "e-2", "dotted lines: failures"):
        assert f"<!-- {text}" in svg or text in svg, text
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")


def test_where_it_can_not_be_written(tmp_path: Path) -> None:
    scenario, summaries = runs()
    with pytest.raises(InvalidConfig, match=r"^--plot .*no/such.png: No such file"):
        plot(str(tmp_path / "no" / "such.png"), scenario, LABELS, summaries)
