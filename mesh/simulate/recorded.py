"""A scenario from what sidecars recorded: the requests come when they came, the endpoints answer as they answered.

What lives here: reading decisions (`mesh sidecar --decisions`, one JSON object per line) and making a Scenario of them.
What this must not know: files, how decisions are written.

A decision is one attempt: `time` (unix seconds, when it was sent), `service`, `endpoint`, `why` (how it was picked),
`latency` (seconds to the end of the answer, or until it was given up), `outcome` ("ok" or a reason code), `grpc_status`
or `status` where the endpoint answered with a failure, `attempt` (1 is a request's first), `ratio` (of the requests
that were recorded; 1 where it is missing). What is missing for the others (one in ten requests recorded: nine) comes at
random between them.

What a recording can't tell: how an endpoint would have answered under another load than it had, and that of an endpoint
that was hardly called. See docs/simulate.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from mesh.balance import Rng
from mesh.errors import REASONS, InvalidResource
from mesh.model import Endpoint
from mesh.simulate.scenario import Backend, Scenario
from mesh.simulate.server import Answer, Sample
from mesh.simulate.times import listed

OK = "ok"
MAX_DECISIONS = 5_000_000


class Decision(NamedTuple):
    """One line."""

    time: float
    service: str
    endpoint: str
    latency: float
    outcome: str
    grpc_status: int
    status: int
    attempt: int
    ratio: float


def parse_decision(line: str, place: str) -> Decision:
    """Return the decision on one line; InvalidResource names `place` and the field."""
    try:
        found = json.loads(line)
    except ValueError as error:
        raise InvalidResource(place, f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidResource(place, "not an object")
    outcome = _text(found, "outcome", place)
    if outcome != OK and outcome not in REASONS:
        raise InvalidResource(place, f"outcome: {outcome!r} is neither ok nor a reason code")
    return Decision(_number(found, "time", place, 0, 1e11), _text(found, "service", place),
                    _text(found, "endpoint", place), _number(found, "latency", place, 0, 1e6), outcome,
                    int(_number(found, "grpc_status", place, -1, 1000, -1)),
                    int(_number(found, "status", place, 0, 1000, 0)),
                    int(_number(found, "attempt", place, 1, 1000, 1)),
                    _number(found, "ratio", place, 0.000_001, 1, 1))


def scenario_of(lines: Iterable[str], name: str, service: str | None = None, seed: int = 1,
                callers: int = 4) -> Scenario:
    """Return the scenario of the decisions of a file called `name`: those of `service`, or None: of the only one."""
    decisions: list[Decision] = []
    services: Counter[str] = Counter()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        decision = parse_decision(line, f"{name}:{number}")
        services[decision.service] += 1
        if service is None or decision.service == service:
            decisions.append(decision)
        if len(decisions) > MAX_DECISIONS:
            raise InvalidResource(name, f"more than {MAX_DECISIONS:,} decisions")
    if service is None and len(services) > 1:
        raise InvalidResource(name, f"decisions of {', '.join(sorted(services))}: say which with --service")
    if not decisions:
        raise InvalidResource(name, f"no decision of {service}, only of {', '.join(sorted(services))}"
                              if service is not None and services else "no decision")
    decisions.sort()
    return _scenario(decisions, name, seed, callers)


def _scenario(decisions: list[Decision], name: str, seed: int, callers: int) -> Scenario:
    begin = decisions[0].time
    by_endpoint: dict[str, list[Decision]] = {}
    for decision in decisions:
        by_endpoint.setdefault(decision.endpoint, []).append(decision)
    backends = tuple(_backend(endpoint, found, index, begin)
                     for index, (endpoint, found) in enumerate(sorted(by_endpoint.items())))
    first = [decision for decision in decisions if decision.attempt == 1]
    if len(first) < 2:
        raise InvalidResource(name, "fewer than two requests")
    duration = max(decisions[-1].time - begin, 0.001)
    arrivals = _spread(first, begin, duration, Rng(seed))
    return Scenario(backends, decisions[0].service, duration, 0.0, seed, callers,
                    max(0.001, len(arrivals) / duration), arrivals=arrivals)


def _backend(name: str, found: list[Decision], index: int, begin: float) -> Backend:
    endpoint = Endpoint(found[0].service, name, "127.0.0.1", 1 + index % 65_535)
    samples = tuple(Sample(decision.time - begin,
                           Answer(decision.latency, REASONS.get(decision.outcome), decision.grpc_status,
                           decision.status))
                    for decision in found)
    times = replace(listed([decision.latency for decision in found]), text=f"{len(found)} recorded")
    return Backend(endpoint, times, 0, samples)


def _spread(first: list[Decision], begin: float, duration: float, rng: Rng) -> tuple[float, ...]:
    """When requests come: when they were recorded, and the others of a sample at random between two of those."""
    arrivals: list[float] = []
    for index, decision in enumerate(first):
        at = decision.time - begin
        arrivals.append(at)
        until = first[index + 1].time - begin if index + 1 < len(first) else duration
        arrivals += [at + rng.uniform() * (until - at) for _ in range(round(1 / decision.ratio) - 1)]
    return tuple(sorted(arrivals))


def _text(found: dict[str, Any], field: str, place: str) -> str:
    value = found.get(field)
    if not isinstance(value, str) or not value:
        raise InvalidResource(place, f"{field}: " + ("is missing" if value is None else f"{value!r} is no name"))
    return value


def _number(found: dict[str, Any], field: str, place: str, low: float, high: float,
            default: float | None = None) -> float:
    value = found.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidResource(place, f"{field}: " + ("is missing" if value is None
                                                     else f"{value!r} is no number in {low:g}..{high:g}"))
    return float(value)
