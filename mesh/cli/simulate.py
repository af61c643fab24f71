"""`mesh simulate`: what would happen under one policy, and under another.

What lives here: arguments to a scenario and policies, the runs, and what is printed. What this must not know: how a
simulation works, how a plot is drawn.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click

from mesh.balance.factory import check_policy
from mesh.cli.output import Cell, format_seconds, print_json, print_table
from mesh.cli.settings import Settings, common
from mesh.errors import InvalidConfig, InvalidResource
from mesh.model import Algorithm, BalancePolicy, LimitsPolicy, Service
from mesh.resource.documents import parse_duration
from mesh.resource.files import load_documents, load_plain
from mesh.simulate.play import play
from mesh.simulate.recorded import scenario_of
from mesh.simulate.report import Summary
from mesh.simulate.scenario import Event, Scenario, scenario_from_document
from mesh.simulate.server import State

# What a fault's word does.
_SLOW = re.compile(r"([0-9]+(?:\.[0-9]+)?)x")
_STATES = {"dead": State.DEAD, "silent": State.SILENT, "503": State.FAILING, "failing": State.FAILING,
           "resets": State.RESETTING}
_ENDPOINTS = 4
_SERVICE_TIME = "exponential:10ms"
_WORKERS = 8
# A run that takes longer than this (seconds of the real clock) says how far it is.
_QUIET = 1.0
# Endpoints that a table has room for.
_SHOWN = 12


class Policy(NamedTuple):
    """What is compared: the policies of a Service, and the word above its column."""

    label: str
    service: Service


@click.command(epilog="""\b
Examples:
  mesh simulate --balance round_robin --balance peak_ewma --fault e-0=10x@5s
  mesh simulate --rate 2000 --endpoints 10 --service-time lognormal:5ms:80ms
  mesh simulate shop.yaml --policy now.yaml --policy wanted.yaml --plot both.svg
  mesh simulate --recorded decisions.jsonl --balance least_request -o json
Faults: ENDPOINT=WHAT@FROM[-TO], where WHAT is dead, silent, 503, resets, or 10x (its times are ten times as long).
Exit code 0: done. 2: something given is wrong, or can't be read or written; the message names the place.""")
@click.argument("scenario", metavar="[SCENARIO.yaml]", required=False)
@click.option("--policy", "policies", metavar="FILE", multiple=True,
              help="A Service, as `mesh apply` takes it, whose policies are tried. Repeat it to compare.")
@click.option("--balance", "algorithms", metavar="ALGORITHM", multiple=True,
              help="The default policies with this algorithm. Repeat it to compare.")
@click.option("--recorded", metavar="FILE", help="Replay decisions that a sidecar recorded (--decisions).")
@click.option("--service", metavar="NAME", help="Whose decisions, or whose policies, where a file has several.")
@click.option("--rate", type=float, metavar="N", help="Requests a second (default: 500).")
@click.option("--duration", metavar="DURATION", help="How long requests come (default: 30s).")
@click.option("--warmup", metavar="DURATION", help="What comes in this time is not counted (default: 1s).")
@click.option("--callers", type=int, metavar="N", help="Sidecars that call, each on its own (default: 4).")
@click.option("--seed", type=int, metavar="N", help="Another seed is another run, the same seed the same (default: 1).")
@click.option("--endpoints", type=int, metavar="N", help=f"Endpoints e-0, e-1 ... (default: {_ENDPOINTS}).")
@click.option("--service-time", metavar="TIME",
              help="How long a call takes: 10ms, exponential:10ms, lognormal:10ms:80ms (median and 99th percentile; "
                   f"default: {_SERVICE_TIME}).")
@click.option("--workers", type=int, metavar="N",
              help=f"Calls that an endpoint works on at a time; 0: any number (default: {_WORKERS}).")
@click.option("--fault", "faults", metavar="FAULT", multiple=True, help="What befalls an endpoint: see below.")
@click.option("--plot", metavar="FILE", help="Draw latencies and loads: .png or .svg (needs matplotlib).")
@click.option("--json", "as_json", is_flag=True, help="The same as -o json.")
@common
@click.pass_obj
def simulate(settings: Settings, /, scenario: str | None, policies: tuple[str, ...], algorithms: tuple[str, ...],
             recorded: str | None, service: str | None, faults: tuple[str, ...], plot: str | None, as_json: bool,
             **given: Any) -> None:
    """Run a load through one policy, or several side by side, on a virtual clock.

    The load is that of SCENARIO, or a recorded one, or made of the flags. It is decided by the code that the sidecars
    run; see docs/simulate.md for what is modelled and what is not.
    """
    draw = _drawing(plot)
    made = _scenario(scenario, recorded, service, faults, given)
    compared = [*(_from_file(path, service or made.name, made.name) for path in policies),
                *(_from_name(name, made.name) for name in algorithms)] or [_from_name("power_of_two", made.name)]
    compared = _distinct(compared)
    progress = _Progress(len(compared))
    summaries = [play(made, policy.service, progress.part(index, policy.label))
                 for index, policy in enumerate(compared)]
    progress.clear()
    labels = [policy.label for policy in compared]
    if draw is not None:
        draw(made, labels, summaries)
    if settings.json or as_json:
        print_json({"scenario": _described(made),
                    "policies": [{"name": label, **summary.to_json()}
                                 for label, summary in zip(labels, summaries, strict=True)]})
    else:
        _print(made, labels, summaries)


# ---- what is given ------------------------------------------------------------------------------------


def _scenario(path: str | None, recorded: str | None, service: str | None, faults: Sequence[str],
              given: dict[str, Any]) -> Scenario:
    if path is not None and recorded is not None:
        raise InvalidConfig("--recorded: the scenario is given already")
    fleet = {name: given.pop(name) for name in ("endpoints", "service_time", "workers")}
    if path is not None or recorded is not None:
        for name, value in fleet.items():
            if value is not None:
                raise InvalidConfig(f"--{name.replace('_', '-')}: endpoints are those of {path or recorded}")
    if recorded is not None:
        if given["rate"] is not None or given["duration"] is not None:
            raise InvalidConfig("--rate, --duration: the load is the recorded one")
        made = _replayed(recorded, service, given)
    elif path is not None:
        made = _read(path)
    else:
        made = _made(fleet, given)
    changed: dict[str, Any] = {name: _duration(name, value) if name in ("duration", "warmup") else value
                               for name, value in given.items() if value is not None}
    try:
        made = replace(made, **changed)
        return replace(made, events=(*made.events, *(event for fault in faults for event in _fault(fault, made))))
    except InvalidResource as error:
        flag = f"--{error.field}" if error.field in changed else error.field
        raise InvalidConfig(f"{flag}: {error.problem}") from None


def _read(path: str) -> Scenario:
    documents = load_plain(path)
    if len(documents) != 1:
        raise InvalidConfig(f"{path}: {len(documents)} documents; a scenario is one")
    document, place_of = documents[0]
    try:
        return scenario_from_document(document)
    except InvalidResource as error:
        raise InvalidResource(place_of(error.field), error.problem) from None


def _replayed(path: str, service: str | None, given: dict[str, Any]) -> Scenario:
    try:
        with open(path, encoding="utf-8") as file:
            return scenario_of(file, path, service, given["seed"] or 1, given["callers"] or 4)
    except OSError as error:
        raise InvalidConfig(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{path}: not UTF-8 at byte {error.start}") from None


def _made(fleet: dict[str, Any], given: dict[str, Any]) -> Scenario:
    document: dict[str, Any] = {"endpoints": [{
        "name": "e", "count": _ENDPOINTS if fleet["endpoints"] is None else fleet["endpoints"],
        "service_time": fleet["service_time"] or _SERVICE_TIME,
        "workers": _WORKERS if fleet["workers"] is None else fleet["workers"],
    }]}
    if given["duration"] is not None and given["warmup"] is None:
        document["warmup"] = min(1.0, _duration("duration", given["duration"]) / 10)
    if fleet["endpoints"] == 0:
        raise InvalidConfig("--endpoints 0: who is to be called?")
    try:
        return scenario_from_document(document)
    except InvalidResource as error:
        flag = {"endpoints[0].count": "--endpoints", "endpoints[0].workers": "--workers",
                "endpoints[0].service_time": "--service-time"}.get(error.field, error.field)
        raise InvalidConfig(f"{flag}: {error.problem}") from None


def _duration(name: str, value: str) -> float:
    try:
        return parse_duration(float(value) if value.replace(".", "", 1).isdigit() else value, "")
    except InvalidResource as error:
        raise InvalidConfig(f"--{name} {value}: {error.problem}") from None


def _fault(text: str, scenario: Scenario) -> list[Event]:
    """The event that a `--fault` begins with, and the one that ends it."""
    endpoint, equals, rest = text.partition("=")
    what, at, span = rest.partition("@")
    first, dash, last = span.partition("-")
    if not (endpoint and equals and what and at and first) or (dash and not last):
        raise InvalidConfig(f"--fault {text}: write ENDPOINT=WHAT@FROM[-TO], like e-0=dead@10s-20s")
    slow = _SLOW.fullmatch(what)
    if slow is None and what not in _STATES:
        raise InvalidConfig(f"--fault {text}: {what!r} is none of {', '.join(_STATES)}, or 10x")
    if not any(backend.endpoint.name == endpoint for backend in scenario.backends):
        raise InvalidConfig(f"--fault {text}: there is no endpoint {endpoint}")
    begin = _duration(f"fault {text}:", first)
    end = _duration(f"fault {text}:", last) if dash else None
    if end is not None and end <= begin:
        raise InvalidConfig(f"--fault {text}: it ends before it begins")
    if slow is not None and float(slow[1]) == 0:
        raise InvalidConfig(f"--fault {text}: 0x is no time at all")
    begun = Event(begin, endpoint, slowdown=float(slow[1])) if slow else Event(begin, endpoint, state=_STATES[what])
    ended = Event(end or 0.0, endpoint, slowdown=1.0) if slow else Event(end or 0.0, endpoint, state=State.UP)
    return [begun] if end is None else [begun, ended]


def _from_file(path: str, wanted: str, name: str) -> Policy:
    services = [resource for resource in load_documents(path) if isinstance(resource, Service)]
    found = services if len(services) == 1 else [service for service in services if service.name == wanted]
    if len(found) != 1:
        raise InvalidConfig(f"{path}: no Service in it" if not services else
                            f"{path}: has {', '.join(service.name for service in services)}, none of them {wanted}; "
                            "say which with --service")
    _usable(path, found[0].balance)
    if found[0].limits != LimitsPolicy():
        click.echo(f"note: the limits in {path} are not simulated", err=True)
    return Policy(Path(path).stem, found[0])


def _from_name(algorithm: str, name: str) -> Policy:
    for member in Algorithm:
        if member.value == algorithm.lower():
            # First available must be told when an endpoint is full.
            capacity = 1 if member is Algorithm.FIRST_AVAILABLE else 0
            return Policy(member.value, Service(name, balance=BalancePolicy(member, capacity=capacity)))
    raise InvalidConfig(f"--balance {algorithm}: none of {', '.join(member.value for member in Algorithm)}")


def _usable(place: str, balance: BalancePolicy) -> None:
    try:
        check_policy(balance)
    except InvalidResource as error:
        raise InvalidResource(f"{place}: balance.{error.field}", error.problem) from None


def _distinct(policies: list[Policy]) -> list[Policy]:
    """No two columns have the same word above them."""
    seen: dict[str, int] = {}
    distinct: list[Policy] = []
    for policy in policies:
        seen[policy.label] = seen.get(policy.label, 0) + 1
        number = seen[policy.label]
        distinct.append(policy if number == 1 else Policy(f"{policy.label} ({number})", policy.service))
    return distinct


def _drawing(path: str | None) -> Callable[[Scenario, list[str], list[Summary]], None] | None:
    """What draws to `path`; InvalidConfig at once where nothing can, and not after a long run."""
    if path is None:
        return None
    if Path(path).suffix.lower() not in (".png", ".svg"):
        raise InvalidConfig(f"--plot {path}: write a .png or .svg")
    try:
        from mesh.cli.simulate_plot import plot
    except ImportError:
        raise InvalidConfig(f"--plot {path}: matplotlib is not installed. Remedy: pip install 'mesh-sidecar[simulate]'"
                            ) from None
    return lambda scenario, labels, summaries: plot(path, scenario, labels, summaries)


# ---- what is shown ------------------------------------------------------------------------------------


class _Progress:
    """How far it is, for a person who waits: on a terminal, and only if it takes long."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._from = time.monotonic()
        self._shown = False

    def part(self, index: int, label: str) -> Callable[[float], None]:
        def tell(done: float) -> None:
            if sys.stderr.isatty() and time.monotonic() - self._from > _QUIET:
                self._shown = True
                print(f"\r\x1b[K{(index + done) / self._runs:4.0%}  {label}", end="", file=sys.stderr, flush=True)

        return tell

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _described(scenario: Scenario) -> dict[str, Any]:
    return {"service": scenario.name, "seed": scenario.seed, "duration_seconds": scenario.duration,
            "warmup_seconds": scenario.warmup, "callers": scenario.callers,
            "rate": scenario.rate if scenario.arrivals is None else len(scenario.arrivals) / scenario.duration,
            "endpoints": [{"name": backend.endpoint.name, "service_time": backend.service_time.text,
                           "mean_seconds": backend.service_time.mean, "workers": backend.workers,
                           "weight": backend.endpoint.weight} for backend in scenario.backends]}


def _print(scenario: Scenario, labels: list[str], summaries: list[Summary]) -> None:
    load = f"{scenario.rate:g} requests/s"
    if scenario.arrivals is not None:
        load = f"{len(scenario.arrivals):,} recorded requests"
    click.echo(f"{load} for {format_seconds(scenario.duration)} from {scenario.callers} callers to "
               f"{len(scenario.backends)} endpoints; seed {scenario.seed}\n")
    both = len(summaries) == 2
    rows: list[list[Cell]] = []

    def row(name: str, shown: Callable[[Summary], str], value: Callable[[Summary], float | None] | None = None) -> None:
        cells: list[Cell] = [name, *(shown(summary) for summary in summaries)]
        rows.append([*cells, _factor(*map(value, summaries)) if both and value is not None else ""] if both else cells)

    def latency(name: str, value: Callable[[Summary], float | None]) -> None:
        row(name, lambda summary: _seconds(value(summary)), value)

    row("requests", lambda summary: f"{summary.requests:,}")
    row("answered", lambda summary: f"{summary.answered:,}")
    for reason in dict.fromkeys(reason for summary in summaries for reason in summary.failed):
        row(f"  {reason}", lambda summary, reason=reason: f"{summary.failed.get(reason, 0):,}")  # type: ignore[misc]
    latency("p50", lambda summary: summary.p50)
    latency("p90", lambda summary: summary.p90)
    latency("p99", lambda summary: summary.p99)
    latency("p99.9", lambda summary: summary.p999)
    latency("mean", lambda summary: summary.mean)
    row("retries", lambda summary: f"{sum(summary.retries.values()):,}")
    row("attempts per request", lambda summary: f"{summary.amplification:.3f}", lambda summary: summary.amplification)
    row("ejections", lambda summary: f"{summary.ejections:,}")
    row("imbalance", lambda summary: f"{summary.imbalance:.2f}", lambda summary: summary.imbalance)
    row("longest queue", lambda summary: f"{max(summary.longest.values()):,}",
        lambda summary: float(max(summary.longest.values())))
    for backend in scenario.backends[:_SHOWN]:
        name = backend.endpoint.name
        row(f"calls to {name}", lambda summary, name=name: f"{summary.attempts[name]:,}")  # type: ignore[misc]
    print_table(["", *labels, *(["FACTOR"] if both else [])], rows)
    if len(scenario.backends) > _SHOWN:
        click.echo(f"... and {len(scenario.backends) - _SHOWN} endpoints more: -o json has them all")


def _seconds(value: float | None) -> str:
    return "-" if value is None else format_seconds(value)


def _factor(first: float | None, second: float | None) -> str:
    """How many times as large the first is as the second."""
    return f"{first / second:.2f} x" if first and second else ""
