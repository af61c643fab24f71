"""The figures as Markdown: the tables, the goals, and docs/benchmarks.md around them.

What lives here: figures to Markdown. The text around the tables is benchmarks.md.in, what was tried for a goal is
tried.yaml, both beside this file. What this must not know: how anything was measured.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import report
import yaml
from cases import CASES, GROUPS, Case
from figures import Samples, figure, goal_text, good, judge, label, middle, number, spread, verdict_text

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
PLOT = PAGE.with_suffix(".svg")


def table(heads: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads),
            *("| " + " | ".join(row) + " |" for row in rows)]


def cell(samples: list[dict[str, Any]], metric: str, with_range: bool) -> str:
    measured = good(samples)
    if not measured:
        return "–"
    text = number(middle(measured, metric), metric)
    low, high = spread(measured, metric)
    if with_range and len(measured) > 1:
        text += f" ({number(low, metric)}–{number(high, metric)})"
    failed = sum(sample.get("failed", 0) for sample in measured)
    return text + (f" [{failed} failed]" if failed else "")


def names_of(cases: list[Case], results: dict[str, Samples]) -> list[str]:
    """Every proxy of these cases that was measured, in the cases' order."""
    found = dict.fromkeys(name for case in cases for name in case.proxies)
    return [name for name in found if any(name in results.get(case.key, {}) for case in cases)]


def columns_of(cases: list[Case], results: dict[str, Samples], versions: dict[str, str]) -> dict[str, list[str]]:
    """Column heading -> the rows' names in it (a pair has one for each protocol)."""
    found: dict[str, list[str]] = {}
    for name in names_of(cases, results):
        found.setdefault(label(name, versions), []).append(name)
    return found


def wide_table(cases: list[Case], results: dict[str, Samples], versions: dict[str, str], metric: str,
               with_range: bool) -> list[str]:
    """A row per case, a column per proxy."""
    columns = columns_of(cases, results, versions)
    rows = []
    for case in cases:
        samples = results.get(case.key)
        if samples:
            rows.append([case.title.removeprefix("gRPC "), *(
                cell([sample for name in names for sample in samples.get(name, [])], metric, with_range)
                for names in columns.values())])
    return table(["", *columns], rows)


def latency_tables(cases: list[Case], results: dict[str, Samples], versions: dict[str, str]) -> list[str]:
    """A table per case: a row per proxy."""
    metrics = (*report.LATENCY, ("added p50 µs", "added_p50_us"), ("added p99 µs", "added_p99_us"))
    lines = []
    for case in cases:
        samples = results.get(case.key, {})
        rows = [[label(name, versions), *(
            "" if name == "direct" and metric.startswith("added") else number(figure(samples, name, metric), metric)
            for _, metric in metrics)] for name in samples if good(samples[name])]
        if rows:
            lines += ["", f"{case.title}:", "", *table(["", *(text for text, _ in metrics)], rows)]
    return lines[1:]


def group_lines(group: str, results: dict[str, Samples], versions: dict[str, str]) -> list[str]:
    cases = [case for case in CASES if case.group == group]
    if not any(case.key in results for case in cases):
        return ["Not measured."]
    if group == "rate":
        return latency_tables(cases, results, versions)
    if group == "bulk":
        return ["GiB per second:", "", *wide_table(cases, results, versions, "gib_s", True), "",
                "Milliseconds of CPU per GiB:", "", *wide_table(cases, results, versions, "cpu_ms", True)]
    metric = {"idle": "bytes_per_conn", "memory": "rss_mb", "control": "p99_ms"}.get(group, "cpu_us")
    lines = wide_table(cases, results, versions, metric, metric == "cpu_us")
    if metric == "cpu_us":
        lines += ["", "Requests (messages) per second:", "", *wide_table(cases, results, versions, "per_s", False)]
    return lines


def idle_count(results: dict[str, Samples]) -> str:
    counts = {sample["done"] for case in CASES if case.work == "idle" for rounds in results.get(case.key, {}).values()
              for sample in good(rounds)}
    return f"{max(counts):,}" if counts else "10,000"


def goals_table(results: dict[str, Samples], versions: dict[str, str], tried: dict[str, str]) -> list[str]:
    rows = []
    for case in CASES:
        for goal in case.goals:
            verdict = judge(goal, results.get(case.key, {}))
            said = verdict_text(verdict, versions) if verdict else "not measured"
            title = case.title if case.work != "idle" else f"{case.title}, memory per idle connection"
            ours = "" if case.work == "command" else f" ({label(goal.ours, versions)})"
            rows.append([f"{title}{ours}", goal_text(goal, versions), said, tried.get(case.key, "")])
    return table(["work", "goal", "this run", "what was tried"], rows)


def problems(results: dict[str, Samples], versions: dict[str, str]) -> list[str]:
    """Rows that could not be measured, and why."""
    found: dict[str, list[str]] = {}
    for key, samples in results.items():
        for name, rounds in samples.items():
            if rounds and not good(rounds):
                why = rounds[0]["problem"].strip().splitlines()[-1]
                found.setdefault(f"{label(name, versions)}: {why}", []).append(f"`{key}`")
    return [f"- {why} ({', '.join(keys)})" for why, keys in found.items()]


def machine(data: dict[str, Any]) -> str:
    shown = {}
    for name, version in data["versions"].items():
        if version[:1].isdigit() and "," not in name and "pair" not in name:
            shown[label(name, data["versions"]).rpartition(" ")[0] + " " + version] = True
    return (f"{report.machine_line(data['machine'])}; {', '.join(shown)}. {data['rounds']} round"
            f"{'s' if data['rounds'] > 1 else ''} of {data['seconds']:g} s.")


def tables(data: dict[str, Any]) -> str:
    """All tables, without the text of docs/benchmarks.md."""
    lines = [machine(data)]
    for group, title in GROUPS.items():
        cases = [case for case in CASES if case.group == group and case.key in data["cases"]]
        if cases:
            lines += ["", f"**{title}**", "", *group_lines(group, data["cases"], data["versions"])]
    lines += ["", "**Goals**", "", *goals_table(data["cases"], data["versions"], read_tried()), ""]
    return "\n".join(lines)


def read_tried() -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load((HERE / "tried.yaml").read_text()) or {}
    return found


def page(data: dict[str, Any]) -> str:
    """docs/benchmarks.md: the template with `{{...}}` filled in."""
    results, versions = data["cases"], data["versions"]

    def fill(found: re.Match[str]) -> str:
        what = found[1]
        if what == "machine":
            return machine(data)
        if what == "idle-connections":
            return idle_count(results)
        if what == "goals":
            return "\n".join(goals_table(results, versions, read_tried()))
        if what == "plot":
            return f"![CPU per request of each proxy]({PLOT.name})" if PLOT.exists() else "(The plot needs matplotlib.)"
        if what == "problems":
            return "\n".join(problems(results, versions)) or "None."
        if what in GROUPS:
            return "\n".join(group_lines(what, results, versions))
        raise KeyError(f"benchmarks.md.in: {{{{{what}}}}}")

    return re.sub(r"\{\{([a-z0-9-]+)\}\}", fill, (HERE / "benchmarks.md.in").read_text())
