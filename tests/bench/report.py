"""The table: medians, ranges, and each goal with what became of it.

What lives here: samples to text. What this must not know: how they were measured.
"""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from statistics import median
from typing import Any

from cases import CASES, Case, Goal

UNITS = {"cpu_us": "CPU", "p50_us": "p50", "p99_us": "p99", "cpu_ms": "CPU per GiB"}
Samples = dict[str, list[dict[str, Any]]]  # proxy -> one per round


def middle(samples: list[dict[str, Any]], metric: str) -> float:
    values = [sample[metric] for sample in samples if metric in sample]
    return median(values) if values else float("nan")


def spread(samples: list[dict[str, Any]], metric: str) -> str:
    values = sorted(sample[metric] for sample in samples if metric in sample)
    return f"{values[0]:.1f}-{values[-1]:.1f}" if values else "-"


def judge(goal: Goal, samples: Samples) -> str:
    theirs = {name: middle(samples[name], goal.metric) for name in goal.theirs if samples.get(name)}
    if not theirs or not samples.get(goal.ours):
        return ""
    best = min(theirs, key=lambda name: theirs[name])
    ratio = middle(samples[goal.ours], goal.metric) / theirs[best]
    return (f"{goal.ours} / {best}: {ratio:.2f} ({UNITS[goal.metric]}), goal ≤ {goal.ratio:.2g}: "
            f"{'met' if ratio <= goal.ratio else 'MISSED'}")


def print_case(case: Case, samples: Samples) -> None:
    """One block of the table: median and range over the rounds."""
    bulk = case.work == "bulk"
    cost, rate = ("cpu_ms", "gib_s") if bulk else ("cpu_us", "per_s")
    print(f"\n{case.title}  [{case.key}]")
    print(f"  {'':22}{'ms/GiB' if bulk else 'µs/req':>9}{'range':>16}{'GiB/s' if bulk else 'req/s':>9}"
          + ("" if bulk else f"{'p50 µs':>9}{'p99 µs':>9}") + f"{'RSS MB':>9}  failures")
    for name, rounds in samples.items():
        good = [sample for sample in rounds if "problem" not in sample]
        if not good:
            print(f"  {name:22}  {rounds[0]['problem'] if rounds else 'not measured'}")
            continue
        failed = sum(sample["failed"] for sample in good)
        why = "; ".join(sorted({text for sample in good for text in sample["errors"]}))
        print(f"  {name:22}{middle(good, cost):9.2f}{spread(good, cost):>16}{middle(good, rate):9.{2 if bulk else 0}f}"
              + ("" if bulk else f"{middle(good, 'p50_us'):9.0f}{middle(good, 'p99_us'):9.0f}")
              + f"{middle(good, 'rss_mb'):9.1f}  {failed or ''} {why[:70]}")
    for goal in case.goals:
        line = judge(goal, samples)
        if line:
            print(f"  -> {line}")


def describe_machine() -> dict[str, Any]:
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version(),
            "load_average": os.getloadavg()[0],
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")}


def markdown(machine: dict[str, Any], versions: dict[str, str], idle: dict[str, int],
             results: dict[str, Samples]) -> str:
    """The same as Markdown: one table of medians per kind of work, the goals below."""
    lines = [f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, "
             f"Python {machine['python']}, load average {machine['load_average']:.1f} before the run; "
             + ", ".join(f"{name} {version}" for name, version in versions.items() if not name.startswith("mesh")
                         and "," not in name and "pair" not in name) + "."]
    goals = []
    for case in CASES:
        tried = results.get(case.key, {})
        samples = {name: good for name in tried if (good := [s for s in tried[name] if "problem" not in s])}
        if not samples:
            continue
        bulk = case.work == "bulk"
        lines += ["", f"**{case.title}**", "", "| | " + ("CPU ms/GiB | range | GiB/s" if bulk else
                  "CPU µs/request | range | requests/s | p50 µs | p99 µs | failures") + " |",
                  "|---|" + "---|" * (3 if bulk else 6)]
        for name, rounds in samples.items():
            if bulk:
                cells = [f"{middle(rounds, 'cpu_ms'):.0f}", spread(rounds, "cpu_ms"), f"{middle(rounds, 'gib_s'):.2f}"]
            else:
                cells = [f"{middle(rounds, 'cpu_us'):.1f}", spread(rounds, "cpu_us"), f"{middle(rounds, 'per_s'):.0f}",
                         f"{middle(rounds, 'p50_us'):.0f}", f"{middle(rounds, 'p99_us'):.0f}",
                         str(sum(s["failed"] for s in rounds))]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        goals += [f"| {case.title} | {line} |" for line in (judge(goal, samples) for goal in case.goals) if line]
    lines += ["", "**Resident memory, idle**", "", "| " + " | ".join(idle) + " |", "|---" * len(idle) + "|",
              "| " + " | ".join(f"{kib / 1024:.1f} MB" for kib in idle.values()) + " |",
              "", "**Goals**", "", "| work | measured |", "|---|---|", *goals, ""]
    return "\n".join(lines)
