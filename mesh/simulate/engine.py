"""A discrete-event model of sidecars that call the endpoints of one service, deciding as real ones do.

What lives here: the callers (each with a node set, balancer, outlier detection and retry budget of its own, as sidecars
have), the life of a request, and Simulation, which runs them on a virtual clock. What this must not know: how a
scenario is written, how results are shown, files, the real clock.

The model. Requests arrive at random (Poisson, unless told otherwise), each at the next caller in turn. A server takes
as many at a time as it has workers, the others wait in the order of their arrival, without limit. The network takes no
time; a call to a server that refuses fails after `refuse_after`. A failed attempt is repeated as the Service's policy
has it: which outcomes, attempts, budget, backoff, hedges; `timeout.per_try` and `timeout.request` end it. What a caller
has given up a worker works off all the same, unless it was still waiting for one. All that is random comes from one
seed, so a run can be repeated; times are seconds.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil, log

from mesh.balance import Balancer, Caller, Node, NodeSet, Outlier, Rng
from mesh.errors import CONNECTION_LOST, DEADLINE, NO_ENDPOINTS, NO_HEALTHY_UPSTREAM, PER_TRY_TIMEOUT
from mesh.model import Endpoint, Protocol, Service
from mesh.resilience.backoff import Backoff
from mesh.resilience.budget import Budget
from mesh.resilience.classify import repeatable, retry_reason
from mesh.resilience.hedge import Hedging
from mesh.simulate.server import REFUSALS, Answer, Server, State
from mesh.simulate.times import constant, exponential

__all__ = ["Outcome", "Result", "Server", "Simulation", "State", "constant", "exponential", "mean", "percentile"]

# When the next request comes after an instant; None: never. See `Simulation.arrivals`.
Arrivals = Callable[[float, Rng], float | None]
# What a request's reason is that had not ended when the run did.
UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: when it came, how long it took, where it ended, in how many attempts, whether it was answered, and
    the reason code if not."""

    at: float
    latency: float
    endpoint: str
    attempts: int
    ok: bool
    reason: str = ""


class Result:
    """The outcomes of a run, in the order of their ends; `attempts` counts those at each endpoint, failed ones too;
    `retries` by why; `ejections` over all callers."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.attempts: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        self.ejections: Counter[str] = Counter()

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
        self.outlier = Outlier(service.outlier, self.nodes, rng)
        retry = service.retry
        self.budget = Budget(retry.budget_ratio, retry.budget_min_per_second, retry.budget_window)
        self.hedging = Hedging(retry.hedge) if retry.hedge.percentile > 0 else None


class _Request:
    """`attempt`: the current one; `hedge`: a copy beside it."""

    __slots__ = ("at", "attempt", "attempts", "caller", "hedge", "key", "over", "tried")

    def __init__(self, at: float, caller: _Caller, key: int) -> None:
        self.at = at
        self.caller = caller
        self.key = key
        self.attempts = 0
        self.attempt: _Attempt | None = None
        self.hedge: _Attempt | None = None
        self.tried: list[Node] = []
        self.over = False


class _Attempt:
    """`lost`: the server has lost it; `over`: the caller has its verdict, or does not want it any more."""

    __slots__ = ("lost", "node", "over", "request", "sent_at", "server")

    def __init__(self, request: _Request, node: Node, server: Server, sent_at: float) -> None:
        self.request = request
        self.node = node
        self.server = server
        self.sent_at = sent_at
        self.over = False
        self.lost = False


class Simulation:
    """`servers` by endpoint name; `keys`: how many different keys requests have; `method` decides about what may be
    repeated. `run` may be called again and goes on where it stopped."""

    def __init__(self, service: Service, endpoints: Iterable[Endpoint], servers: dict[str, Server], rate: float,
                 seed: int, callers: int = 1, keys: int = 1_000_000, refuse_after: float = 0.001,
                 arrivals: Arrivals | None = None, method: bytes = b"GET") -> None:
        self.service = service
        self.servers = servers
        self.rate = rate
        self.keys = keys
        self.refuse_after = refuse_after
        self.arrivals = arrivals or self._poisson
        self.method = method
        self.http = service.protocol in (Protocol.HTTP1, Protocol.HTTP2)
        self.repeatable = repeatable(service.retry, method, b"/", False).retry
        self.now = 0.0
        self.result = Result()
        self.rng = Rng(seed)
        self.backoff = Backoff(service.retry.backoff_base, service.retry.backoff_max)
        self.callers = [_Caller(service, Rng(self.rng.next64()), Caller(f"caller/caller-{i}", position=i / callers))
                        for i in range(callers)]
        # A generator of its own: under every policy the same requests come at the same instants.
        self._arrival_rng = Rng(self.rng.next64())
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._turn = 0
        self._open: dict[_Request, None] = {}
        self._known = 0  # endpoints that the callers know of
        self.set_endpoints(endpoints)
        self._expect()

    # -- what may happen

    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """All callers learn that these are the endpoints now."""
        listed = list(endpoints)
        self._known = len(listed)
        for caller in self.callers:
            caller.nodes.reconcile(listed)
            caller.balancer.changed()

    def put(self, name: str, state: State) -> None:
        """A server falls into this state, or comes out of one. Dead, it loses what it has; silent, it keeps it until it
        is up again."""
        server = self.servers[name]
        server.state = state
        if state is State.DEAD:
            attempts = [*server.working, *server.waiting, *(attempt for attempt, _ in server.held)]
            server.working.clear()
            server.waiting.clear()
            server.held.clear()
            server.busy = 0
            for attempt in attempts:
                attempt.lost = True
                self._answered(attempt, Answer(0.0, CONNECTION_LOST))
        elif state is not State.SILENT:
            held, server.held = server.held, []
            for attempt, answer in held:
                server.busy -= 1
                self._tell(attempt, answer)
            self._take_next(server)

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

    def end(self, patience: float) -> Result:
        """Let no more requests come, and go on for `patience` seconds at most until all are over; those that are not
        then are UNFINISHED, with the time they have waited."""
        self.arrivals = _never
        until = self.now + patience
        while self._open and self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
        for request in list(self._open):
            self.now = max(self.now, until)
            name = request.attempt.node.endpoint.name if request.attempt is not None else ""
            self._end(request, name, UNFINISHED)
        return self.result

    # -- the life of a request

    def _at(self, at: float, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (at, self._sequence, action))

    def _poisson(self, now: float, rng: Rng) -> float:
        return now - log(1.0 - rng.uniform()) / self.rate

    def _expect(self) -> None:
        at = self.arrivals(self.now, self._arrival_rng)
        if at is not None:
            self._at(at, self._arrive)

    def _arrive(self) -> None:
        if self.arrivals is _never:
            return
        caller = self.callers[self._turn]
        self._turn = (self._turn + 1) % len(self.callers)
        caller.budget.deposit(self.now)
        # Keys spread over 64 bits, as hashes are.
        key = (self._arrival_rng.below(self.keys) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        request = _Request(self.now, caller, key)
        self._open[request] = None
        if self.service.timeout.request > 0:
            self._at(self.now + self.service.timeout.request, lambda: self._overdue(request))
        self._send(request)
        self._expect()

    def _send(self, request: _Request) -> None:
        if request.over:
            return
        balancer, hedging = request.caller.balancer, request.caller.hedging
        balancer.safe = self.repeatable and request.attempts < self.service.retry.max_attempts - 1
        node = balancer.pick(request.key, self.now, request.tried)
        request.attempts += 1
        if node is None:
            self._end(request, "", (NO_HEALTHY_UPSTREAM if self._known else NO_ENDPOINTS).code)
            return
        request.attempt = self._attempt(request, node)
        if hedging is not None and self.repeatable and request.attempts == 1:
            delay = hedging.delay(self.now)
            if delay > 0:
                self._at(self.now + delay, lambda: self._hedge(request))

    def _hedge(self, request: _Request) -> None:
        """The first answer takes long: send a copy elsewhere, where there is anybody and the budget allows it."""
        if request.over or request.attempt is None or request.attempts > 1:
            return
        caller, first = request.caller, request.attempt.node
        caller.balancer.safe = False
        node = caller.balancer.pick(request.key, self.now, [first])
        if node is None or node is first or not caller.budget.withdraw(self.now):
            return
        self.result.retries["hedge"] += 1
        request.attempts += 1
        request.hedge = self._attempt(request, node)

    def _attempt(self, request: _Request, node: Node) -> _Attempt:
        name = node.endpoint.name
        self.result.attempts[name] += 1
        node.begin()
        server = self.servers[name]
        attempt = _Attempt(request, node, server, self.now)
        if self.service.timeout.per_try > 0:
            late = Answer(self.service.timeout.per_try, PER_TRY_TIMEOUT)
            self._at(self.now + late.seconds, lambda: self._answered(attempt, late))
        refusal = REFUSALS.get(server.state)
        if refusal is not None:
            self._at(self.now + self.refuse_after, lambda: self._answered(attempt, refusal))
        elif server.state is State.UP and server.free():
            self._serve(attempt)
        else:
            server.waiting.append(attempt)
        server.longest = max(server.longest, server.busy + len(server.waiting))
        return attempt

    def _serve(self, attempt: _Attempt) -> None:
        server = attempt.server
        server.busy += 1
        server.working[attempt] = None
        answer = server.answer(self.rng, self.now)
        self._at(self.now + answer.seconds, lambda: self._served(attempt, answer))

    def _served(self, attempt: _Attempt, answer: Answer) -> None:
        server = attempt.server
        if attempt.lost:
            return
        server.working.pop(attempt, None)
        if server.state is State.SILENT:
            server.held.append((attempt, answer))
            return
        server.busy -= 1
        self._tell(attempt, answer if server.alive else Answer(0.0, CONNECTION_LOST))
        self._take_next(server)

    def _tell(self, attempt: _Attempt, answer: Answer) -> None:
        if answer.reason is None:
            attempt.server.answered += 1
        self._answered(attempt, answer)

    def _take_next(self, server: Server) -> None:
        while server.waiting and server.state is not State.SILENT and server.free():
            attempt = server.waiting.popleft()
            if not attempt.over:
                self._serve(attempt)

    def _answered(self, attempt: _Attempt, answer: Answer) -> None:
        """The caller learns how an attempt ended; nothing where it has given it up before."""
        if attempt.over:
            return
        request, node = attempt.request, attempt.node
        self._judge(attempt, answer.reason is None)
        if answer.reason is None:
            if request.caller.hedging is not None:
                request.caller.hedging.observe(self.now - attempt.sent_at, self.now)
            self._drop(request)
            self._end(request, node.endpoint.name, "")
        elif request.attempt is not None or request.hedge is not None:
            request.attempt = request.attempt or request.hedge  # the other one goes on
            request.hedge = None
            request.tried.append(node)
        elif self._may_repeat(request, answer):
            request.tried.append(node)
            self._at(self.now + self.backoff.delay(request.attempts, self.rng), lambda: self._send(request))
        else:
            self._end(request, node.endpoint.name, answer.reason.code)

    def _may_repeat(self, request: _Request, answer: Answer) -> bool:
        verdict = retry_reason(self.service.retry, reason=answer.reason,
                               grpc_status=-1 if self.http else answer.grpc_status,
                               http_status=answer.http_status if self.http else 0,
                               method=self.method, path=b"/", idempotency_key=False, attempt=request.attempts,
                               replayable=True, committed=False)
        if not verdict.retry or not request.caller.budget.withdraw(self.now):
            return False
        self.result.retries[verdict.why] += 1
        return True

    def _drop(self, request: _Request) -> None:
        """Let go of what is under way still: nobody waits for it any more."""
        for attempt in (request.attempt, request.hedge):
            if attempt is not None:
                attempt.over = True
                attempt.node.end()
        if request.attempt is not None and request.caller.hedging is not None:  # the hedge was faster
            request.caller.hedging.observe(self.now - request.attempt.sent_at, self.now)
        request.attempt = request.hedge = None

    def _judge(self, attempt: _Attempt, ok: bool) -> None:
        """The books of one attempt: it is over for its caller, whatever the server still does."""
        request, node, caller = attempt.request, attempt.node, attempt.request.caller
        attempt.over = True
        if request.attempt is attempt:
            request.attempt = None
        else:
            request.hedge = None
        node.end()
        caller.balancer.on_result(node, self.now - attempt.sent_at, ok, self.now)
        if caller.outlier.timing:
            node.timed += 1
            node.spent += self.now - attempt.sent_at
        caller.outlier.on_result(node, ok, self.now)
        if caller.outlier.news:
            caller.balancer.changed()
            for changed in caller.outlier.take_news():
                if changed.ejected_until > self.now:
                    self.result.ejections[changed.endpoint.name] += 1

    def _overdue(self, request: _Request) -> None:
        if request.over:
            return
        name, attempt = "", request.attempt
        if attempt is not None:
            name = attempt.node.endpoint.name
            self._judge(attempt, False)
        self._drop(request)
        self._end(request, name, DEADLINE.code)

    def _end(self, request: _Request, endpoint: str, reason: str) -> None:
        request.over = True
        del self._open[request]
        self.result.outcomes.append(Outcome(request.at, self.now - request.at, endpoint, request.attempts, not reason,
                                            reason))


def _never(now: float, rng: Rng) -> None:
    """No more requests come."""
