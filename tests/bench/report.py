"""The tables on the terminal: medians, ranges, and each goal with what became of it.

What lives here: figures to lines of text. What this must not know: how they were measured.
"""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import Any

from cases import Case
from figures import Sample, Samples, good, label, middle, number, spread, verdict_text, verdicts

Column = tuple[str, str]  # heading, metric
LATENCY: tuple[Column, ...] = (("p50 µs", "p50_us"), ("p99 µs", "p99_us"), ("p99.9 µs", "p999_us"))
COLUMNS: dict[str, tuple[Column, ...]] = {
    "request": (("CPU µs", "cpu_us"), ("per s", "per_s"), ("busy %", "busy_pct"), *LATENCY, ("RSS MB", "rss_mb")),
    "bulk": (("ms/GiB", "cpu_ms"), ("GiB/s", "gib_s"), ("busy %", "busy_pct"), ("RSS MB", "rss_mb")),
    "idle": (("B/conn", "bytes_per_conn"), ("held MB", "held_mb"), ("left MB", "left_mb")),
    "memory": (("RSS MB", "rss_mb"),),
    "command": (("p50 ms", "p50_ms"), ("p99 ms", "p99_ms")),
}


def width(heading: str) -> int:
    return 7 if heading == "busy %" else 10


def columns(case: Case) -> tuple[Column, ...]:
    """What is shown of a case; the first one with its range."""
    return COLUMNS["request" if case.work in ("grpc", "http1", "tcp") else case.work]


def failures(samples: list[Sample]) -> str:
    failed = sum(sample.get("failed", 0) for sample in samples)
    why = "; ".join(sorted({text for sample in samples for text in sample.get("errors", {})}))
    if any(sample.get("done") == 0 for sample in samples):
        why = f"a round in which nothing was done; {why}"
    return f"{failed or ''} {why[:70]}".strip()


def case_lines(case: Case, samples: Samples, versions: dict[str, str]) -> list[str]:
    """One block of the table."""
    shown = columns(case)
    lines = ["", f"{case.title}  [{case.key}]",
             f"  {'':24}{shown[0][0]:>9}{'range':>16}" + "".join(f"{text:>{width(text)}}" for text, _ in shown[1:])
             + "  failures"]
    for name, rounds in samples.items():
        measured = good(rounds)
        if not measured:
            lines.append(f"  {label(name, versions):24}  {rounds[0]['problem'] if rounds else 'not measured'}")
            continue
        first = shown[0][1]
        low, high = spread(measured, first)
        reach = f"{number(low, first)}–{number(high, first)}" if low == low else ""
        others = "".join(f"{number(middle(measured, metric), metric):>{width(text)}}" for text, metric in shown[1:])
        lines.append(f"  {label(name, versions):24}{number(middle(measured, first), first):>9}{reach:>16}{others}"
                     f"  {failures(rounds)}")
    for verdict in verdicts(case, samples):
        lines.append(f"  -> {label(verdict.goal.ours, versions)}: {verdict_text(verdict, versions)}")
    return lines


def describe_machine() -> dict[str, Any]:
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version(),
            "load_average": os.getloadavg()[0],
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")}


def machine_line(machine: dict[str, Any]) -> str:
    return (f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}, "
            f"load average {machine['load_average']:.1f}, {machine['date']}")
