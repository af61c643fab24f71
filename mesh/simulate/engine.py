"""A discrete-event model of sidecars that call the endpoints of one service, deciding as real ones do.

What lives here: Server (a queue with workers), the callers (each with a node set, balancer, outlier detection and retry
budget of its own, as sidecars have) and Simulation, which runs them on a virtual clock. What this must not know: how
results are shown, files, the real clock.

The model. Requests arrive at random (Poisson), each at the next caller in turn. A server takes as many at a time as it
has workers, the others wait in the order of their arrival, without limit. The network takes no time; a call to a server
that is dead fails after `refuse_after`. A failed attempt is repeated as the Service's policy has it: attempts, budget,
backoff. All that is random comes from one seed, so a run can be repeated; times are seconds.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil, log

from mesh.balance import Balancer, Caller, Node, NodeSet, Outlier, Rng
from mesh.model import Endpoint, Service
from mesh.resilience.backoff import Backoff
from mesh.resilience.budget import Budget

ServiceTime = Callable[[Rng], float]


def constant(seconds: float) -> ServiceTime:
    """Every call takes as long."""
    return lambda rng: seconds


def exponential(mean: float) -> ServiceTime:
    """Memoryless times of `mean` seconds, as queueing theory likes them."""
    return lambda rng: -mean * log(1.0 - rng.uniform())


class Server:
    """What answers at an endpoint. `slowdown` multiplies its times; while not `alive` it refuses; both may be changed
    in the middle of a run. `answered` counts what it has served, `longest` the most calls it had at a time."""

    def __init__(self, service_time: ServiceTime, workers: int = 1) -> None:
        self.service_time = service_time
        self.workers = workers
        self.slowdown = 1.0
        self.alive = True
        self.busy = 0
        self.waiting: deque[_Attempt] = deque()
        self.answered = 0
        self.longest = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: when it came, how long it took, where it ended, in how many attempts, and whether it was
    answered."""

    at: float
    latency: float
    endpoint: str
    attempts: int
    ok: bool


class Result:
    """The outcomes of a run, in the order of their ends; `attempts` counts those at each endpoint, failed ones too."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.attempts: Counter[str] = Counter()

    def between(self, start: float, end: float) -> list[Outcome]:
        """Return the outcomes of the requests that came in this time."""
        return [outcome for outcome in self.outcomes if start <= outcome.at < end]

    def failed(self) -> int:
        return sum(not outcome.ok for outcome in self.outcomes)


def percentile(outcomes: Iterable[Outcome], ratio: float) -> float:
    """Return the latency that `ratio` of the outcomes don't exceed (nearest rank); ValueError where there are none."""
    latencies = sorted(outcome.latency for outcome in outcomes)
    if not latencies:
        raise ValueError("a percentile of nothing")
    return latencies[max(0, ceil(ratio * len(latencies)) - 1)]


def mean(outcomes: Iterable[Outcome]) -> float:
    latencies = [outcome.latency for outcome in outcomes]
    return sum(latencies) / len(latencies)


class _Caller:
    """One sidecar's view of the service."""

    def __init__(self, service: Service, rng: Rng, caller: Caller) -> None:
        self.nodes = NodeSet()
        self.balancer = Balancer(service.balance, self.nodes, rng, caller)
        self.outlier = Outlier(service.outlier, self.nodes)
        retry = service.retry
        self.budget = Budget(retry.budget_ratio, retry.budget_min_per_second, retry.budget_window)


class _Request:
    __slots__ = ("at", "attempts", "caller", "key", "tried")

    def __init__(self, at: float, caller: _Caller, key: int) -> None:
        self.at = at
        self.caller = caller
        self.key = key
        self.attempts = 0
        self.tried: list[Node] = []


class _Attempt:
    __slots__ = ("node", "request", "sent_at", "server")

    def __init__(self, request: _Request, node: Node, server: Server, sent_at: float) -> None:
        self.request = request
        self.node = node
        self.server = server
        self.sent_at = sent_at


class Simulation:
    """`servers` by endpoint name; `keys`: how many different keys requests have. `run` may be called again and goes on
    where it stopped."""

    def __init__(self, service: Service, endpoints: Iterable[Endpoint], servers: dict[str, Server], rate: float,
                 seed: int, callers: int = 1, keys: int = 1_000_000, refuse_after: float = 0.001) -> None:
        self.service = service
        self.servers = servers
        self.rate = rate
        self.keys = keys
        self.refuse_after = refuse_after
        self.now = 0.0
        self.result = Result()
        self.rng = Rng(seed)
        self.backoff = Backoff(service.retry.backoff_base, service.retry.backoff_max)
        self.callers = [_Caller(service, Rng(self.rng.next64()), Caller(f"caller/caller-{i}", position=i / callers))
                        for i in range(callers)]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._turn = 0
        self.set_endpoints(endpoints)
        self._at(self._next_arrival(), self._arrive)

    # -- what may happen

    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """All callers learn that these are the endpoints now."""
        listed = list(endpoints)
        for caller in self.callers:
            caller.nodes.reconcile(listed)
            caller.balancer.changed()

    def schedule(self, at: float, action: Callable[[], None]) -> None:
        """Have `action` called at an instant, which is not past."""
        if at < self.now:
            raise ValueError(f"{at} is past: it is {self.now}")
        self._at(at, action)

    def run(self, until: float) -> Result:
        """Go on up to an instant; what is under way then is not in the result yet."""
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = until
        return self.result

    # -- the life of a request

    def _at(self, at: float, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (at, self._sequence, action))

    def _next_arrival(self) -> float:
        return self.now - log(1.0 - self.rng.uniform()) / self.rate

    def _arrive(self) -> None:
        caller = self.callers[self._turn]
        self._turn = (self._turn + 1) % len(self.callers)
        caller.budget.deposit(self.now)
        # Keys spread over 64 bits, as hashes are.
        key = (self.rng.below(self.keys) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        self._send(_Request(self.now, caller, key))
        self._at(self._next_arrival(), self._arrive)

    def _send(self, request: _Request) -> None:
        node = request.caller.balancer.pick(request.key, self.now, request.tried)
        request.attempts += 1
        if node is None:
            self._end(request, "", False)
            return
        name = node.endpoint.name
        self.result.attempts[name] += 1
        node.begin()
        attempt = _Attempt(request, node, self.servers[name], self.now)
        server = attempt.server
        if not server.alive:
            self._at(self.now + self.refuse_after, lambda: self._answered(attempt, False))
        elif server.busy < server.workers:
            self._serve(attempt)
        else:
            server.waiting.append(attempt)
        server.longest = max(server.longest, server.busy + len(server.waiting))

    def _serve(self, attempt: _Attempt) -> None:
        server = attempt.server
        server.busy += 1
        self._at(self.now + server.service_time(self.rng) * server.slowdown, lambda: self._served(attempt))

    def _served(self, attempt: _Attempt) -> None:
        server = attempt.server
        server.busy -= 1
        if server.alive:
            server.answered += 1
        self._answered(attempt, server.alive)
        if server.waiting:
            self._serve(server.waiting.popleft())

    def _answered(self, attempt: _Attempt, ok: bool) -> None:
        request, node, caller = attempt.request, attempt.node, attempt.request.caller
        node.end()
        caller.balancer.on_result(node, self.now - attempt.sent_at, ok, self.now)
        if caller.outlier.on_result(node, ok, self.now):
            caller.balancer.changed()
        if ok:
            self._end(request, node.endpoint.name, True)
        elif request.attempts < self.service.retry.max_attempts and caller.budget.withdraw(self.now):
            request.tried.append(node)
            self._at(self.now + self.backoff.delay(request.attempts, self.rng), lambda: self._send(request))
        else:
            self._end(request, node.endpoint.name, False)

    def _end(self, request: _Request, endpoint: str, ok: bool) -> None:
        self.result.outcomes.append(Outcome(request.at, self.now - request.at, endpoint, request.attempts, ok))
