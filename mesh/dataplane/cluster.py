# cython: language_level=3, wraparound=False, initializedcheck=False
"""The runtime of one service as one sidecar sees it: its endpoints, who is next, and what is left of the retry budget.

What lives here: the wiring of the pure parts (node set, picker, outlier detection, budget) with the pools, and their
update in place when discovery brings news: endpoints that stay keep their in-flight counts, ejections and connections.
What this must not know: protobuf, sockets, how a request is carried.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import cython

from mesh import errors
from mesh.balance.balancer import Balancer
from mesh.balance.ejection import Outlier
from mesh.balance.merge import MergeWindow
from mesh.balance.node import Node, NodeSet
from mesh.balance.subset import Caller
from mesh.dataplane.affinity import Affinity
from mesh.dataplane.gate import Gate
from mesh.dataplane.hub import Hub
from mesh.dataplane.rates import Rates
from mesh.dataplane.record import Record
from mesh.dataplane.room import Room, part
from mesh.dataplane.timers import Probe
from mesh.dataplane.upstream import Pool, UpstreamCall
from mesh.dataplane.upstream_http1 import Http1Pool
from mesh.model import Endpoint, LimitsPolicy, Protocol, Service, Verdict, VerdictKind
from mesh.model.custom import CustomMode
from mesh.model.health import MAX_REASON
from mesh.resilience.backoff import Backoff
from mesh.resilience.budget import Budget
from mesh.resilience.gradient import GradientLimit
from mesh.resilience.hedge import Hedging
from mesh.resilience.pushback import Resting, reconnect_rest
from mesh.wire.hpack import Head

_log = logging.getLogger(__name__)

# Nothing of the request has reached an app, and the next one's would not either.
UNDELIVERED = cython.declare(
    frozenset, frozenset((errors.CONNECT_FAILED.code, errors.CONNECT_TIMEOUT.code, errors.NOT_DELIVERED.code)))


class Cluster:
    """One service. `service` is None when discovery says that there is none of this name.

    `version`: of the Service in force.
    `known()` is false until discovery (or the state on disk) has told of both the service and its endpoints. `guards`:
    it stands before the app itself, and keeps the limits that are kept there; `room`, `gate` and `rates` hold what is
    limited, the last two None where nothing is. `heard` is called with each news of the service.
    """

    def __init__(self, hub: Hub, name: str, caller: Caller | None = None, guards: bool = False,
                 policies: Any = None) -> None:
        self.hub = hub
        self.name = name
        self.caller = caller or Caller()
        self.policies: Any = policies
        self.custom: Any = None
        self.merge: Any = MergeWindow(0.0)
        self.merged = Probe(self._put_what_was_held)
        self.service_known = False
        self.endpoints_known = False
        self.nodes = NodeSet()
        self.endpoints: dict[str, Endpoint] = {}
        self.waiters: list[UpstreamCall] = []
        self.ejected = 0
        self.guards = guards
        self.guarded = False
        self.heard: list[Callable[[Service | None], None]] = []
        self.room = Room()
        self.gate: Any = None
        self.rates: Any = None
        self.service: Service | None = None
        self.version = ""
        self.balancer: Any = None
        self.affinity: Any = None
        self.checker: Any = None
        self.on_verdicts: Any = None
        self.hedging: Any = None
        self.resting: Any = None
        self._configure(Service(name), None)

    def known(self) -> cython.bint:
        return self.service_known and (self.endpoints_known or self.service is None)

    # -- news

    def update_service(self, service: Service | None) -> None:
        """Put a service's policies in force; None means that it does not exist (any more)."""
        before = self.service
        self.service_known = True
        self.service = service
        if service is not None and service != before:
            self._configure(service, before)
        for listener in self.heard:
            listener(service)
        if self.checker is not None:
            self.checker.heed(self)
        self._tell_waiters()

    def _configure(self, service: Service, before: Service | None) -> None:
        """Put policies in force; what did not change keeps its state (a budget's count, a balancer's turn)."""
        retry = service.retry
        self.retry = retry
        self.max_attempts = retry.max_attempts
        self.replay_bytes = retry.replay_bytes
        self.idempotent_methods = retry.idempotent_methods
        self.request_timeout = service.timeout.request
        self.per_try = service.timeout.per_try
        if before is None or before.retry.hedge != retry.hedge:
            self.hedging = Hedging(retry.hedge) if retry.hedge.percentile > 0 else None
        self.watched = self.per_try > 0 or self.hedging is not None
        self.connect_timeout = service.timeout.connect
        self.is_grpc = service.protocol is Protocol.GRPC
        if before is not None and before.protocol is not service.protocol:
            self._retire_pools(self.nodes.nodes)
        self.http1 = service.protocol is Protocol.HTTP1
        self.auto = service.protocol is Protocol.AUTO
        self.backoff = Backoff(retry.backoff_base, retry.backoff_max)
        if before is None or before.retry != retry:
            self.budget = Budget(retry.budget_ratio, retry.budget_min_per_second, retry.budget_window)
        if before is None or before.balance != service.balance:
            if self.balancer is not None:
                self.balancer.close()
            if self.policies is not None and (before is None or before.balance.custom != service.balance.custom):
                self.custom = self.policies.make(self.name, service.balance.custom)
            self.balancer = Balancer(service.balance, self.nodes, self.hub.rng, self.caller, self.custom)
            self.merge.window = service.balance.merge_window
            self.affinity = Affinity(self.balancer, self.hub.rng) if Affinity.needed(self.balancer) else None
        if before is None or before.outlier != service.outlier:
            self.outlier = Outlier(service.outlier, self.nodes, self.hub.rng)
        if before is None or before.limits != service.limits:
            self._limit(service.limits)
        self.why = self.balancer.why
        node: Node
        pool: Pool
        for node in self.nodes.nodes:
            pool = node.pool
            if pool is not None:
                pool.connect_timeout = self.connect_timeout
                if pool.sibling is not None:
                    pool.sibling.connect_timeout = self.connect_timeout

    def _limit(self, limits: LimitsPolicy) -> None:
        """Put limits in force; what is under way counts, and what did not change keeps its state."""
        workers = self.hub.workers
        self.room.configure(limits, workers)
        self.guarded = self._keeps_the_apps_limits()
        rate_limits = limits.rate_limits if self.guarded else ()
        if self.rates is None or self.rates.limits != rate_limits:
            self.rates = Rates(rate_limits, workers) if rate_limits else None
        wanted = limits.adaptive if limits.adaptive.enabled and self.guarded else None
        if self.gate is None:
            if not (limits.endpoint_requests or limits.endpoint_pending or limits.endpoint_retries
                    or limits.max_requests or wanted):
                return
            self.gate = Gate(self.hub, self.room, self.nodes)
        adaptive = self.gate.adaptive
        if (adaptive.policy if adaptive is not None else None) != wanted:
            adaptive = GradientLimit(wanted, self.hub.rng, self.hub.now) if wanted is not None else None
        self.gate.configure(part(limits.max_requests, workers), part(limits.endpoint_requests, workers),
                            part(limits.endpoint_pending, workers), part(limits.endpoint_retries, workers), adaptive)

    def _keeps_the_apps_limits(self) -> bool:
        """Whether the limits of the service itself are kept here: at the app, or where no endpoint has a sidecar to do
        it."""
        return self.guards or (bool(self.endpoints)
                               and not any(endpoint.behind_sidecar for endpoint in self.endpoints.values()))

    def move(self, caller: Caller) -> None:
        """Pick as `caller` from now on: the same sidecar, with another position among its like."""
        if caller != self.caller:
            self.caller = caller
            if self.balancer.policy.subset.size:
                self.balancer.move(caller)
                if self.checker is not None:
                    self.checker.heed(self)

    def hear_endpoints(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Discovery's latest set, by name: put in force now, or with what comes within the policy's merge window."""
        now = self.hub.touch()
        in_force = self.merge.offer(endpoints, now)
        if in_force is not None:
            self.update_endpoints(in_force.values())
        if self.merge.due is not None:
            self.hub.timers.add(self.merged, self.merge.due, now)
        else:
            self.hub.timers.cancel(self.merged)
        self.hub.flush()

    def _put_what_was_held(self) -> None:
        held = self.merge.take(self.hub.now)
        if held is not None:
            self.update_endpoints(held.values())

    def update_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """Put a set of endpoints in force: the whole set, not a change of it."""
        self.endpoints_known = True
        listed = list(endpoints)
        added, removed, changed = self.nodes.reconcile(listed)
        self.endpoints = {endpoint.name: endpoint for endpoint in listed}
        self._retire_pools(removed)
        self._retire_pools([node for node in changed if node.pool is not None and not self._reached_as_before(node)])
        if added or removed or changed:
            if self.checker is not None:
                self.checker.heed(self)
            self.verdicts_changed()
        if self.gate is not None:
            self.gate.change(added, removed)
        if self.service is not None and self.guarded != self._keeps_the_apps_limits():
            self._limit(self.service.limits)
        self._tell_waiters()
        self.hub.flush()

    def _reached_as_before(self, node: Node) -> bool:
        pool: Pool = node.pool
        return (pool.host == node.endpoint.host and pool.port == node.endpoint.port
                and pool.textual == self.textual(node, pool.textual))

    def _retire_pools(self, nodes: Iterable[Node]) -> None:
        node: Node
        pool: Pool
        for node in nodes:
            pool = node.pool
            if pool is not None:
                node.pool = None
                pool.retire()

    def _tell_waiters(self) -> None:
        if not self.known() or not self.waiters:
            return
        waiters: list[UpstreamCall] = self.waiters
        self.waiters = []
        waiter: UpstreamCall
        for waiter in waiters:
            waiter.on_cluster_known()

    def wait_known(self, waiter: UpstreamCall) -> cython.int:
        """Have `waiter` told when `known()` becomes true; 0 when too many wait already, else 1."""
        if len(self.waiters) >= 1024:
            return 0
        self.waiters.append(waiter)
        return 1

    def stop_waiting(self, waiter: UpstreamCall) -> cython.int:
        if waiter in self.waiters:
            self.waiters.remove(waiter)
        return 0

    # -- decisions

    def pick(self, key: cython.ulonglong, tried: list[Any] | None) -> Node | None:
        """The endpoint for the next attempt; `why` then says how it was picked."""
        if self.resting is not None:
            tried = self.avoided(tried)
        node: Node | None = self.balancer.pick(key, self.hub.now, tried)
        self.why = self.balancer.why
        return node

    def pick_for(self, head: Head, key: cython.ulonglong, tried: list[Any] | None) -> Node | None:
        """As `pick`, for a request that may say itself where it belongs; only where there is an `affinity`."""
        if self.resting is not None:
            tried = self.avoided(tried)
        node: Node | None = self.affinity.pick(head, key, self.hub.now, tried)
        self.why = self.balancer.why
        return node

    def place(self, head: Head, key: cython.ulonglong, tried: list[Any] | None, repeats: cython.bint) -> Node | None:
        """As `pick` or `pick_for`, but endpoints that are full are avoided; one that is (`Gate.closed_to`): all are.

        While one with room is left it goes before those that have not been tried.
        """
        gate: Gate = self.gate
        node: Node | None = self.choose(head, key, tried)
        if node is None or not gate.closed_to(node, repeats):
            return node
        closed: list[Node] = gate.closed(repeats)
        node = self.choose(head, key, closed if tried is None else closed + tried)
        if tried is not None and node is not None and gate.closed_to(node, repeats):
            node = self.choose(head, key, closed)
        return node

    def choose(self, head: Head, key: cython.ulonglong, tried: list[Any] | None) -> Node | None:
        if self.affinity is None:
            return self.pick(key, tried)
        return self.pick_for(head, key, tried)

    def rest(self, node: Node, seconds: cython.double) -> cython.int:
        """`node` asked to be left alone for so long: others go before it until then."""
        if self.resting is None:
            self.resting = Resting()
        self.resting.add(node, seconds, self.hub.now)
        return 0

    def avoided(self, tried: list[Any] | None) -> list[Any] | None:
        """Whom a pick is to avoid: those tried, and those that rest."""
        tried = self.resting.beside(tried, self.hub.now, len(self.nodes.nodes))
        if not self.resting:
            self.resting = None
        return tried

    def describe(self, record: Record) -> cython.int:
        """Put into a record that somebody wants what the last pick was made of."""
        if record.attempt > 1:
            record.pick = self.why
        else:
            record.why = self.why
        record.candidates = self.balancer.among
        record.version = self.version
        return 0

    def observe(self, node: Node, latency: cython.double, ok: cython.bint) -> cython.int:
        """An attempt has ended, `latency` seconds after it was sent; `ok` False: the endpoint is to blame. For
        algorithms that go by latency; ejection is told by `succeeded` and `failed`, but that an answer has begun ends
        one: its end may be hours away."""
        if self.balancer.feedback:
            self.balancer.on_result(node, latency, ok, self.hub.now)
        if self.gate is not None:
            gate: Gate = self.gate
            gate.sample(latency, self.hub.now)
        if self.outlier.timing:
            node.timed += 1
            node.spent += latency
        if ok and node.held:
            self.proved(node)
        return 0

    def proved(self, node: Node) -> cython.int:
        """The probe of an ejected endpoint goes well so far, and its end may be hours away."""
        if node.held and self.hub.now >= node.ejected_until:
            self.outlier.bring_back(node, self.hub.now)
            self._heed_news()
        return 0

    def textual(self, node: Node, caller: cython.bint) -> cython.bint:
        """Whether `node` is spoken to in HTTP/1.1; `caller`: whether that is what the caller speaks.

        A sidecar is spoken to in HTTP/2 whatever its app speaks: many calls share a connection.
        """
        if self.http1:
            return not node.endpoint.behind_sidecar
        return caller if self.auto else False

    def pool_of(self, node: Node, caller: cython.bint) -> Pool:
        """The connections to `node`; `caller` as in `textual`."""
        pool: Pool = node.pool
        if pool is None:
            pool = self._make_pool(node, self.textual(node, caller))
            node.pool = pool
        elif self.auto and pool.textual != caller:
            if pool.sibling is None:
                pool.sibling = self._make_pool(node, caller)
            pool = pool.sibling
        return pool

    def _make_pool(self, node: Node, textual: cython.bint) -> Pool:
        kind = Http1Pool if textual else Pool
        return kind(self.hub, node.endpoint.host, node.endpoint.port, self.connect_timeout, self.room, node)

    def succeeded(self, node: Node) -> cython.int:
        """A request or connection is over, and nothing was wrong with the endpoint."""
        self.outlier.on_result(node, True, self.hub.now)
        if self.outlier.news:
            self._heed_news()
        return 0

    def failed(self, node: Node, why: str = "") -> cython.int:
        """... and the endpoint is to blame; `why` in a word or two."""
        node.last_failure = why
        self.outlier.on_result(node, False, self.hub.now)
        if self.outlier.news:
            self._heed_news()
        elif why in UNDELIVERED and 0 < self.outlier.threshold <= node.consecutive_failures:
            # It would be ejected if others weren't, or is and was picked in panic: of an endpoint where nobody is there
            # is nothing to spare the others. Most of its requests are only late for being sent elsewhere, but one with
            # a large body can't be sent again.
            return self.rest(node, reconnect_rest(node.consecutive_failures - self.outlier.threshold + 1))
        return 0

    def forgive(self, node: Node) -> None:
        """A check says that the endpoint is well: end its ejection."""
        self.outlier.bring_back(node, self.hub.now)
        self._heed_news()

    def verdicts_changed(self) -> None:
        """Who may be picked is to be looked at again, and whoever reports verdicts told."""
        self.balancer.changed()
        if self.on_verdicts is not None:
            self.on_verdicts()

    def _heed_news(self) -> None:
        """Endpoints were ejected, or are back."""
        self.verdicts_changed()
        now: cython.double = self.hub.now
        node: Node
        for node in self.outlier.take_news():
            if node.ejected_until > now:
                self.ejected += 1
                _log.warning("ejected %s for %.0f s: %s", node.resource, node.ejected_until - now, node.ejected_why)
            else:
                _log.info("%s is back after %.0f s", node.resource, now - node.ejected_at)

    def explain(self, key_of: Callable[[Any], int], cookies: bytes | None, head: Head | None) -> Any:
        """What the next pick would be, and of what it would be made (mesh.balance.explain): as `place` makes it."""
        from mesh.balance.explain import explain  # nobody asks most sidecars

        full = self.gate.full if self.gate is not None else ()
        tried = None if self.resting is None else self.resting.beside(None, self.hub.now)
        return explain(self.balancer, self.hub.now, key_of, cookies, tried, head, full)

    def crowded(self) -> str:
        """Why a request would have to wait for room now, "" where it would not."""
        gate: Any = self.gate
        if gate is None:
            return ""
        if gate.max_requests and gate.under_way >= gate.max_requests:
            return f"{gate.under_way} requests are in flight, as many as limits.max_requests lets in"
        if gate.adaptive is not None and gate.under_way >= gate.adaptive.limit:
            return f"{gate.under_way} requests are in flight, as many as limits.adaptive lets in now"
        if gate.full and len(gate.full) >= len(self.nodes.nodes):
            return ("all endpoints have as many requests in flight as limits.endpoint_requests lets in, or as many "
                    "waiting for a connection as limits.endpoint_pending")
        return ""

    def custom_statistics(self) -> dict[str, Any] | None:
        """What has become of the service's policy of its own, None where it has none."""
        policy = self.balancer.policy.custom
        if policy.mode is CustomMode.OFF:
            return None
        from mesh.dataplane.custom import not_allowed  # most sidecars have none

        found: dict[str, Any] = not_allowed(policy) if self.custom is None else self.custom.statistics(self.hub.now)
        return found

    def close(self) -> None:
        """Retire every connection."""
        self.hub.timers.cancel(self.merged)
        self._retire_pools(self.nodes.nodes)

    def statistics(self) -> dict[str, Any]:
        """What `mesh sidecar` prints on SIGUSR2."""
        return {"service": self.name, "known": self.known(), "algorithm": self.why,
                "custom": self.custom_statistics(),
                "budget": self.budget.level(self.hub.now), "ejected": self.ejected,
                "limits": {**self.room.statistics(), **(self.gate.statistics() if self.gate is not None else {})},
                "endpoints": {node.endpoint.name: self._node_statistics(node) for node in self.nodes.nodes}}

    def verdicts(self) -> list[Verdict]:
        """What this sidecar has against endpoints now."""
        found: list[Verdict] = []
        now: cython.double = self.hub.touch()
        node: Node
        for node in self.nodes.nodes:
            if node.out(now):
                found.append(Verdict(node.resource, VerdictKind.EJECTED, one_line(node.ejected_why),
                                     self._unix(node.ejected_at), self._unix(node.ejected_until)))
            course = None if self.checker is None or not node.failing else self.checker.course(self, node)
            if course is not None:
                found.append(Verdict(node.resource, VerdictKind.CHECK_FAILED, one_line(course.verdict_reason),
                                     self._unix(course.since)))
        return found

    def _unix(self, instant: cython.double) -> float:
        """Seconds since the epoch, to the tenth, so that the same instant stays the same while clocks are adjusted."""
        tenths: cython.longlong = round((self.hub.wall_ns() / 1e9 + instant - self.hub.now) * 10)
        return float(tenths / 10.0)

    def _node_statistics(self, node: Node) -> dict[str, Any]:
        course = None if self.checker is None else self.checker.course(self, node)
        return {"in_flight": node.in_flight, "pending": node.pending, "retries": node.retries,
                "weight": node.weight, "eligible": bool(node.eligible(self.hub.now)),
                "consecutive_failures": node.consecutive_failures, "ejections": node.ejections,
                "ejected": node.ejected_why if node.out(self.hub.now) else None,
                "check": None if course is None else course.state.value,
                "check_failure": course.reason if course is not None and node.failing else None}


def one_line(reason: str) -> str:
    """`reason` as a verdict may have it."""
    return reason.encode()[:MAX_REASON].decode("utf-8", "ignore").replace("\n", " ").replace("\r", " ")
