"""What a simulation is of: the servers, the load, and what happens to them when.

What lives here: Scenario, its document (a plain mapping, as YAML has it), and the making of a Simulation from it with a
policy. What this must not know: files, how results are shown.

A scenario's fields; all have defaults but `endpoints`, durations as in the mesh's other documents:

    name: cart                     # of the service, which policies are for
    duration: 30s                  # requests come for so long; those that came in the first `warmup` are not counted
    warmup: 1s
    seed: 1
    callers: 4                     # sidecars, which know nothing of each other
    rate: 500                      # requests a second, at random (Poisson)
    idempotent: true               # may be repeated though they may have run
    keys: 1000000                  # how many different keys, for algorithms that hash
    endpoints:
      - name: fast                 # with a count: fast-0, fast-1, ...
        count: 3
        service_time: exponential:10ms
        workers: 8                 # calls at a time; 0: any number
        weight: 1                  # and priority, locality, health, metadata as an Endpoint has them
    events:
      - {at: 10s, endpoint: fast-0, state: dead}    # up, dead, silent, failing, resetting
      - {at: 15s, endpoint: fast-0, slowdown: 10}   # its times are so much longer
      - {at: 20s, endpoint: fast-0, weight: 0}      # the registry's: weight, health, listed: false
      - {at: 25s, rate: 2000}
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mesh.errors import InvalidResource
from mesh.model import Endpoint, Service
from mesh.model.checks import check_name
from mesh.resource.documents import endpoint_from_document, parse_duration
from mesh.simulate.engine import Arrivals, Simulation
from mesh.simulate.server import RecordedServer, Sample, Server, State
from mesh.simulate.times import ServiceTime, parse_service_time

MAX_ENDPOINTS = 10_000
# A run keeps each request's outcome, some 200 octets.
MAX_REQUESTS = 20_000_000


@dataclass(frozen=True, slots=True)
class Backend:
    """One endpoint and what answers there: by `service_time` with `workers`, or as in `samples`."""

    endpoint: Endpoint
    service_time: ServiceTime
    workers: int = 1
    samples: tuple[Sample, ...] = ()

    def server(self) -> Server:
        return RecordedServer(self.samples) if self.samples else Server(self.service_time, self.workers)


@dataclass(frozen=True, slots=True)
class Event:
    """What changes at an instant; None for what stays. `listed` False: the endpoint leaves the registry."""

    at: float
    endpoint: str = ""
    state: State | None = None
    slowdown: float | None = None
    weight: int | None = None
    health: str | None = None
    listed: bool | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """See the module. `arrivals`: the instants of a recording, instead of `rate`."""

    backends: tuple[Backend, ...]
    name: str = "service"
    duration: float = 30.0
    warmup: float = 1.0
    seed: int = 1
    callers: int = 4
    rate: float = 500.0
    idempotent: bool = True
    keys: int = 1_000_000
    events: tuple[Event, ...] = ()
    arrivals: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.backends:
            raise InvalidResource("endpoints", "is missing: who is to be called?")
        if len(self.backends) > MAX_ENDPOINTS:
            raise InvalidResource("endpoints", f"{len(self.backends):,} of them, at most {MAX_ENDPOINTS:,}")
        _check("duration", self.duration, 0.001, 86_400)
        _check("warmup", self.warmup, 0, self.duration)
        _check("callers", self.callers, 1, 1000)
        _check("rate", self.rate, 0.001, 10_000_000)
        _check("keys", self.keys, 1, 2**32)
        expected = len(self.arrivals) if self.arrivals is not None else self.expected()
        if expected > MAX_REQUESTS:
            raise InvalidResource("rate", f"{expected:,.0f} requests in all, at most {MAX_REQUESTS:,}")
        names: set[str] = set()
        for index, backend in enumerate(self.backends):
            if backend.endpoint.name in names:
                raise InvalidResource(f"endpoints[{index}].name", f"{backend.endpoint.name} is there twice")
            names.add(backend.endpoint.name)
        for index, event in enumerate(self.events):
            if event.endpoint and event.endpoint not in names:
                near = difflib.get_close_matches(event.endpoint, sorted(names), 1)
                raise InvalidResource(f"events[{index}].endpoint", f"there is no {event.endpoint}"
                                      + (f"; did you mean {near[0]}?" if near else ""))

    def expected(self) -> float:
        """How many requests come, on average."""
        total, since, rate = 0.0, 0.0, self.rate
        for event in sorted((event for event in self.events if event.rate is not None), key=lambda event: event.at):
            if event.at < self.duration and event.rate is not None:
                total, since, rate = total + rate * (event.at - since), event.at, event.rate
        return total + rate * (self.duration - since)

    def simulation(self, policy: Service) -> Simulation:
        """Make the simulation of this scenario under the policies of a Service, whatever its name."""
        endpoints = {backend.endpoint.name: backend.endpoint for backend in self.backends}
        servers = {backend.endpoint.name: backend.server() for backend in self.backends}
        made = Simulation(replace(policy, name=self.name), endpoints.values(), servers, self.rate, self.seed,
                          self.callers, self.keys, arrivals=self._recorded(),
                          method=b"GET" if self.idempotent else b"POST")
        unlisted: set[str] = set()

        def happen(event: Event) -> None:
            if event.rate is not None:
                made.rate = event.rate
            if not event.endpoint:
                return
            if event.slowdown is not None:
                servers[event.endpoint].slowdown = event.slowdown
            if event.state is not None:
                made.put(event.endpoint, event.state)
            if event.weight is not None or event.health is not None or event.listed is not None:
                endpoints[event.endpoint] = _changed(endpoints[event.endpoint], event)
                if event.listed is not None:
                    (unlisted.discard if event.listed else unlisted.add)(event.endpoint)
                made.set_endpoints(endpoint for name, endpoint in endpoints.items() if name not in unlisted)

        for event in self.events:
            made.schedule(event.at, lambda event=event: happen(event))  # type: ignore[misc]
        return made

    def _recorded(self) -> Arrivals | None:
        if self.arrivals is None:
            return None
        left = iter(self.arrivals)
        return lambda now, rng: next(left, None)


def _changed(endpoint: Endpoint, event: Event) -> Endpoint:
    fields: dict[str, Any] = {}
    if event.weight is not None:
        fields["weight"] = event.weight
    if event.health is not None:
        fields["health"] = type(endpoint.health)(event.health)
    return replace(endpoint, **fields)


def _check(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidResource(field, f"{value:g} is outside {low:g}..{high:g}")


# ---- documents ----------------------------------------------------------------------------------------


def scenario_from_document(document: object) -> Scenario:
    """Return the Scenario that a mapping describes; InvalidResource with the path in it."""
    fields = _mapping(document, "", _SCENARIO)
    if fields.get("endpoints") is None:
        raise InvalidResource("endpoints", "is missing: who is to be called?")
    read = {name: _SCENARIO[name](value, name) for name, value in fields.items()
            if value is not None and name not in ("endpoints", "events")}
    service = read.get("name", "service")
    backends: list[Backend] = []
    for index, entry in enumerate(_list(fields["endpoints"], "endpoints")):
        backends += _backends(entry, f"endpoints[{index}]", service, len(backends))
        if len(backends) > MAX_ENDPOINTS:
            raise InvalidResource(f"endpoints[{index}]", f"more than {MAX_ENDPOINTS:,} endpoints")
    events = tuple(_event(entry, f"events[{index}]")
                   for index, entry in enumerate(_list(fields.get("events") or [], "events")))
    return Scenario(tuple(backends), events=events, **read)


def _backends(entry: object, path: str, service: str, first: int) -> Iterable[Backend]:
    fields = _mapping(entry, path, _BACKEND)
    count = _whole(fields["count"], f"{path}.count") if fields.get("count") is not None else 0
    if count and not 1 <= count <= MAX_ENDPOINTS:
        raise InvalidResource(f"{path}.count", f"{count} is outside 1..{MAX_ENDPOINTS:,}")
    if not isinstance(fields.get("name"), str):
        raise InvalidResource(f"{path}.name", "is missing" if fields.get("name") is None else "expected text")
    if fields.get("service_time") is None:
        raise InvalidResource(f"{path}.service_time", "is missing: how long does it take for a call?")
    times = parse_service_time(fields["service_time"], f"{path}.service_time")
    workers = _whole(fields["workers"], f"{path}.workers") if fields.get("workers") is not None else 1
    if not 0 <= workers <= 1_000_000:
        raise InvalidResource(f"{path}.workers", f"{workers} is outside 0..1,000,000")
    ours = ("name", "count", "service_time", "workers")
    registered = {name: value for name, value in fields.items() if name not in ours}
    for number in range(max(count, 1)):
        name = f"{fields['name']}-{number}" if count else fields["name"]
        yield Backend(endpoint_from_document({
            "service": service, "name": name, "host": "127.0.0.1", "port": 1 + (first + number) % 65_535, **registered,
        }, path), times, workers)


def _event(entry: object, path: str) -> Event:
    fields = _mapping(entry, path, _EVENT)
    if fields.get("at") is None:
        raise InvalidResource(f"{path}.at", "is missing: when?")
    event = Event(**{name: _EVENT[name](value, f"{path}.{name}")
                     for name, value in fields.items() if value is not None})
    ours = [name for name in ("state", "slowdown", "weight", "health", "listed") if fields.get(name) is not None]
    if ours and not event.endpoint:
        raise InvalidResource(f"{path}.endpoint", f"is missing: whose {ours[0]}?")
    if not ours and event.rate is None:
        raise InvalidResource(path, "nothing happens: state, slowdown, weight, health, listed or rate")
    return event


def _mapping(value: object, path: str, known: Iterable[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidResource(path, "expected a mapping")
    names = list(known)
    for name in value:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            place = f"{path}.{name}" if path else str(name)
            raise InvalidResource(place, "unknown field; " + (
                f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"))
    return value


def _list(value: object, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidResource(path, "expected a list")
    return value


def _whole(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidResource(path, f"expected a whole number, not {value!r}")
    return value


def _positive(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e9:
        raise InvalidResource(path, f"expected a number above 0, not {value!r}")
    return float(value)


def _flag(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidResource(path, f"expected true or false, not {value!r}")
    return value


def _name(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidResource(path, f"expected text, not {value!r}")
    try:
        check_name(value)
    except InvalidResource as error:
        raise InvalidResource(path, error.problem) from None
    return value


def _state(value: object, path: str) -> State:
    for state in State:
        if value == state.value:
            return state
    raise InvalidResource(path, f"{value!r} is none of {', '.join(state.value for state in State)}")


def _health(value: object, path: str) -> str:
    if value not in ("healthy", "unhealthy", "draining"):
        raise InvalidResource(path, f"{value!r} is none of healthy, unhealthy, draining")
    return str(value)


_Read = Callable[[Any, str], Any]
_SCENARIO: dict[str, _Read] = {
    "name": _name, "duration": parse_duration, "warmup": parse_duration, "seed": _whole, "callers": _whole,
    "rate": _positive, "idempotent": _flag, "keys": _whole, "endpoints": _list, "events": _list,
}
_BACKEND = ("name", "count", "service_time", "workers", "weight", "priority", "locality", "health", "metadata")
_EVENT: dict[str, _Read] = {
    "at": parse_duration, "endpoint": _name, "state": _state, "slowdown": _positive, "weight": _whole,
    "health": _health, "listed": _flag, "rate": _positive,
}
