# cython: language_level=3, wraparound=False, initializedcheck=False
"""A request over all its attempts: the first, those that follow a failure, and the copy beside a slow one.

What lives here: picking, counting, waiting and giving up, as the pure parts decide it (picker, classify, budget,
backoff, hedge). What this must not know: what the caller sends and is told (`exchange`), how a stream is opened
(`attempt`), sockets.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh import errors
from mesh.balance.ejection import to_blame
from mesh.balance.node import Node
from mesh.dataplane.attempt import Attempt, Hedge
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.gate import Gate
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Record
from mesh.dataplane.upstream import Pool
from mesh.resilience.classify import IDEMPOTENT_METHODS, is_idempotent, retry_reason
from mesh.resilience.pushback import NEVER
from mesh.wire.grpc import grpc_status_of
from mesh.wire.hpack import Block, Head

if not cython.compiled:
    from mesh.dataplane.attempt import CANCEL
    from mesh.dataplane.relay import CONNECTING, DONE, OPEN, PAUSED, QUEUED, WAITING

# What a rate limit says: HTTP's Too Many Requests, gRPC's RESOURCE_EXHAUSTED.
TOO_MANY_REQUESTS = cython.declare(cython.int, 429)
RESOURCE_EXHAUSTED = cython.declare(cython.int, 8)
REPEATABLE = cython.declare(frozenset, IDEMPOTENT_METHODS)


class Retrying(Attempt):
    """As an Attempt it is the current one. `attempts`: begun so far, a hedge included. `inherited`: attempts that a
    caller further up the chain leaves to this hop, 0: none has said so. `owner`: this hop repeats what may have run,
    and those behind it don't. `hedge`: a copy of the request on its way to another endpoint. `record`: of them all.
    `repeated`: it counts among the service's retries. `full`: the callee's sidecar had no room for this attempt."""

    def clear(self) -> None:
        Attempt.clear(self)
        self.key = 0
        self.is_grpc = False
        self.attempts = 0
        self.tried: list[Node] | None = None
        self.inherited = 0
        self.owner = False
        self.record: Any = None
        self.retry_why = ""
        self.repeated = False
        self.try_deadline = 0.0
        self.hedge_at = 0.0
        self.hedge: Any = None
        self.full = False

    def may_run_twice(self) -> cython.bint:
        """`classify.repeatable`, as every request is asked."""
        methods: tuple[str, ...] = self.cluster.idempotent_methods
        return (self.head.idempotency_key or self.head.method in REPEATABLE
                or (len(methods) > 0 and is_idempotent(methods, self.head.path or b"")))

    def start_attempt(self) -> cython.int:
        """Pick an endpoint and open a stream to it, now or when there is room and a connection."""
        cluster: Cluster = self.cluster
        if cluster.balancer.half_open:
            cluster.balancer.safe = self.may_go_elsewhere()
        if cluster.gate is None:
            return self.attempt_at(cluster.choose(self.head, self.key, self.tried))
        gate: Gate = cluster.gate
        self.state = QUEUED
        return gate.enter(self)

    def on_room(self) -> cython.bint:
        cluster: Cluster = self.cluster
        gate: Gate = cluster.gate
        repeats: cython.bint = self.attempts > 0
        if cluster.balancer.half_open:
            cluster.balancer.safe = self.may_go_elsewhere()
        node: Node | None = cluster.place(self.head, self.key, self.tried, repeats)
        if node is not None:
            if repeats and not gate.may_repeat_at(node):
                cluster.room.refuse(errors.LIMIT_RETRIES)
                self.on_no_room(errors.LIMIT_RETRIES)
                return True
            if gate.is_full(node):
                return False
        self.attempt_at(node)
        return True

    def on_no_room(self, reason: object) -> cython.int:
        if self.state == QUEUED:
            self.state = PAUSED
            self.fail(reason, self.cluster.name)
        return 0

    def attempt_at(self, node: Node | None) -> cython.int:
        """Open a stream at `node`, now or when there is a connection."""
        cluster: Cluster = self.cluster
        if node is None:
            self.state = PAUSED
            if cluster.endpoints:
                return self.fail(errors.NO_HEALTHY_UPSTREAM, cluster.name)
            return self.fail(errors.NO_ENDPOINTS, cluster.name)
        self.attempts += 1
        self.number = self.attempts
        self.node = node
        node.begin()
        record: Record = self.record
        record.attempts = self.attempts
        if self.attempts > 1:
            node.retries += 1
            self.request_sent = False
            record = self.entry.begin_attempt_record(record, self.retry_why)
            self.rewind()
        self.attempt_record = record
        pool: Pool = cluster.pool_of(node, self.down.conn.textual)
        self.pool = pool
        record.attempt = self.number
        record.endpoint = node.resource
        record.peer_host = pool.host
        record.peer_port = pool.port
        if record.trace_flags & 1 or self.entry.watched:
            cluster.describe(record)
        if self.owner or self.inherited > 0:
            self.allowance = self.chain_allowance()
        if self.request_ended and cluster.watched:
            self.count_time()
        return self.seek_connection()

    def may_go_elsewhere(self) -> cython.bint:
        """Whether another endpoint may be asked the same, should this attempt fail in any way."""
        return (self.owner and self.attempts < self.cluster.max_attempts - 1
                and (self.replay is not None or self.request_bytes == 0))

    def chain_allowance(self) -> cython.int:
        """How many attempts those further down may make for this one: what is left here, this one included."""
        left: cython.int = (self.inherited if self.inherited > 0 else self.cluster.max_attempts) - self.number + 1
        return left if left > 1 else 1

    def count_time(self) -> cython.int:
        """The request is all here: from now on the endpoint is waited for."""
        cluster: Cluster = self.cluster
        now: cython.double = self.hub.now
        if cluster.per_try > 0:
            self.try_deadline = now + cluster.per_try
        if (self.owner and self.attempts == 1 and cluster.hedging is not None
                and (self.replay is not None or self.request_bytes == 0)):
            delay: cython.double = cluster.hedging.delay(now)
            if delay > 0:
                self.hedge_at = now + delay
        return self.arm()

    def arm(self) -> cython.int:
        """Set the timer to what comes first: the end of the request's time, or of the attempt's, or a hedge."""
        at: cython.double = self.request_deadline
        if self.try_deadline > 0 and (at == 0 or self.try_deadline < at):
            at = self.try_deadline
        if self.hedge_at > 0 and (at == 0 or self.hedge_at < at):
            at = self.hedge_at
        if at > 0:
            self.hub.timers.add(self, at, self.hub.now)
        return 0

    def fire(self) -> cython.int:
        """The timer: end of a pause between attempts, of the wait for discovery, or one of those of `arm`."""
        hub: Hub = self.hub
        if self.state == PAUSED:
            if self.request_deadline > 0:
                hub.timers.add(self, self.request_deadline, hub.now)
            return self.start_attempt()
        if self.state == DONE:
            return 0
        if 0 < self.request_deadline <= hub.now:
            return self.fail(errors.DEADLINE, "")
        if self.state == WAITING:
            return self.fail(errors.NOT_DISCOVERED, self.cluster.name)
        if 0 < self.hedge_at <= hub.now:
            self.hedge_at = 0.0
            self.send_hedge()
        if 0 < self.try_deadline <= hub.now:
            self.try_deadline = 0.0
            if self.state == CONNECTING:
                return self.attempt_failed(errors.CONNECT_TIMEOUT, "no connection within timeout.per_try")
            if self.cluster.hedging is not None:
                self.cluster.hedging.observe(self.cluster.per_try, hub.now)
            return self.attempt_failed(errors.PER_TRY_TIMEOUT, "")
        return self.arm()

    def request_complete(self) -> cython.int:
        if (self.state == OPEN or self.state == CONNECTING) and not self.committed and self.cluster.watched:
            self.count_time()
        return 0

    # -- a copy

    def send_hedge(self) -> cython.int:
        """The answer takes long: send a copy to another endpoint, where there is one and the budget allows it."""
        cluster: Cluster = self.cluster
        first: Node = self.node
        if self.replay is None and self.request_bytes > 0:
            return 0
        node: Node | None
        if cluster.balancer.half_open:
            cluster.balancer.safe = False
        if cluster.gate is None:
            node = cluster.choose(self.head, self.key, [first])
        else:
            gate: Gate = cluster.gate
            node = cluster.place(self.head, self.key, [first], True) if gate.has_room() else None
            if node is None or gate.closed_to(node, True):
                return self.stay("no room for a hedge")
        if node is None or node is first:
            return self.stay("no other endpoint for a hedge")
        why: str = self.budgeted()
        if why:
            return self.stay(f"no hedge: {why}")
        self.entry.retries += 1
        self.entry.hedges += 1
        self.attempts += 1
        record: Record = self.entry.begin_attempt_record(self.record, "hedge")
        self.record.attempts = record.attempt = self.attempts
        hedge: Hedge = Hedge(self)
        self.hedge = hedge
        hedge.number = self.attempts
        hedge.allowance = max(1, cluster.max_attempts - self.attempts + 1)
        hedge.node = node
        node.begin()
        node.retries += 1
        pool: Pool = cluster.pool_of(node, self.down.conn.textual)
        hedge.pool = pool
        hedge.attempt_record = record
        record.endpoint = node.resource
        record.peer_host = pool.host
        record.peer_port = pool.port
        if record.trace_flags & 1 or self.entry.watched:
            cluster.describe(record)
        if self.record.trace_flags & 1:
            self.note("hedge", "sent", node, None, hedge.number)
        return hedge.seek_connection()

    def copy_answered(self, copy: Attempt, block: Block, end: cython.bint) -> cython.int:
        """The hedge has an answer: the first one, so it is taken, unless it says no more than that it failed."""
        hedge: Hedge = self.hedge
        head: Head = block.head
        if hedge is None or hedge is not copy:
            return 0
        grpc_status: cython.int = -1
        http_status: cython.int = 0
        if not self.is_grpc:
            http_status = head.status
        elif end and head.grpc_status >= 0:
            grpc_status = head.grpc_status
        elif head.status != 200:
            grpc_status = grpc_status_of(head.status)
        if ((grpc_status > 0 or http_status >= 400)
                and self.judge(errors.UPSTREAM_STATUS, grpc_status, http_status).retry):
            hedge.attempt_record.http_status = head.status
            hedge.attempt_record.grpc_status = grpc_status
            return self.drop_hedge("failed", errors.UPSTREAM_STATUS)
        if self.cluster.hedging is not None and self.sent_at > 0:
            self.cluster.hedging.observe(self.hub.now - self.sent_at, self.hub.now)
        if self.record.trace_flags & 1:
            self.note("hedge", "won", hedge.node, None, hedge.number)
        self.leave_upstream(CANCEL)
        self.end_attempt(None)
        self.adopt(hedge)
        return self.on_response_headers(block, end)

    def copy_failed(self, copy: Attempt, reason: Any) -> cython.int:
        if self.hedge is not None and self.hedge is copy:
            return self.drop_hedge("failed", reason)
        return 0

    def adopt(self, hedge: Hedge) -> cython.int:
        """Go on with the hedge as the current attempt; the one before has been let go of."""
        self.hedge = None
        hedge.whole = None
        self.release_pending()
        self.between = False
        self.body_sent = hedge.body_sent
        self.number = hedge.number
        self.node = hedge.node
        self.pool = hedge.pool
        self.attempt_record = hedge.attempt_record
        self.allowance = hedge.allowance
        self.opened_at = hedge.opened_at
        self.sent_at = hedge.sent_at
        self.request_sent = hedge.request_sent
        self.pending = hedge.pending
        self.pending_at = hedge.pending_at
        hedge.pending = None
        self.hedge_at = 0.0
        self.try_deadline = 0.0
        if self.cluster.per_try > 0:
            self.try_deadline = (self.sent_at if self.sent_at > 0 else self.hub.now) + self.cluster.per_try
        self.arm()
        if hedge.state == CONNECTING:
            self.pool.leave(hedge)
            hedge.state = DONE
            self.state = CONNECTING
            return self.pool.wait(self)
        self.state = OPEN
        self.up = hedge.up
        self.up_stream = hedge.up_stream
        self.up_stream.owner = self
        hedge.up = None
        hedge.up_stream = None
        hedge.state = DONE
        return 0

    def drop_hedge(self, outcome: str, reason: Any) -> cython.int:
        """Let go of the hedge; `reason`: what its endpoint is to blame for, if anything."""
        hedge: Hedge = self.hedge
        node: Node = hedge.node
        self.hedge = None
        if self.record.trace_flags & 1:
            self.note("hedge", outcome, node, reason, hedge.number)
        hedge.whole = None
        hedge.leave_upstream(CANCEL)
        hedge.state = DONE
        self.leave_node(node, hedge.number)
        if reason is not None and reason.fault is errors.Fault.UPSTREAM:
            self.tell(node, reason, hedge.attempt_record)
            if self.tried is None:
                self.tried = []
            self.tried.append(node)
        hedge.attempt_record.whole = None  # it is not by this one that the request ended
        return self.entry.add_record(hedge.attempt_record, reason)

    # -- after a failure

    def attempt_failed(self, reason: Any, detail: str) -> cython.int:
        """This attempt is over without an answer: again elsewhere, or tell the caller."""
        if self.try_again(reason, -1, 0, 0.0):
            return 0
        return self.fail(reason, detail)

    def judge(self, reason: Any, grpc_status: cython.int, http_status: cython.int) -> Any:
        """What the policy says of an attempt that ended so; a hedge has been paid for, so only the failure counts."""
        return retry_reason(
            self.cluster.retry, reason=reason, grpc_status=grpc_status, http_status=http_status,
            method=self.head.method or b"", path=self.head.path or b"", idempotency_key=self.head.idempotency_key,
            attempt=self.attempts if self.hedge is None else 1,
            replayable=self.replayable(), committed=self.committed,
            inherited=self.inherited)

    def try_again(self, reason: Any, grpc_status: cython.int, http_status: cython.int, wait: cython.double
                  ) -> cython.bint:
        """Ask the policy; go on with the hedge or schedule the next attempt if it says yes. Otherwise nothing has
        changed. `wait`: the seconds that the server asked for."""
        cluster: Cluster = self.cluster
        hub: Hub = self.hub
        verdict: Any = self.judge(reason, grpc_status, http_status)
        if not verdict.retry:
            return self.stay(verdict.why)
        hedge: Hedge = self.hedge
        if hedge is not None:
            self.close_attempt(reason, verdict.why)
            self.adopt(hedge)
            return True
        delay: cython.double = cluster.backoff.delay(self.attempts, hub.rng)
        if wait > delay:
            if wait > cluster.retry.max_pushback:
                return self.stay("the server does not want it again" if wait == NEVER else
                                 "the server asked for more time than retry.max_pushback")
            delay = wait
        if 0 < self.request_deadline <= hub.now + delay:
            return self.stay("no time is left before the deadline")
        why: str = self.budgeted()
        if why:
            return self.stay(why)
        self.entry.retries += 1
        self.close_attempt(reason, verdict.why)
        self.state = PAUSED
        hub.timers.add(self, hub.now + delay, hub.now)
        return True

    def budgeted(self) -> str:
        """Pay for one more attempt; why that can't be, or "" when it is paid."""
        cluster: Cluster = self.cluster
        if not self.repeated and not cluster.room.may_retry():
            return errors.LIMIT_RETRIES.code
        if cluster.gate is not None:
            gate: Gate = cluster.gate
            if not gate.may_repeat():
                cluster.room.refuse(errors.LIMIT_RETRIES)
                return errors.LIMIT_RETRIES.code
        if not cluster.budget.withdraw(self.hub.now):
            return "retry budget exhausted"
        if not self.repeated:
            self.repeated = True
            cluster.room.retries += 1
        return ""

    def stay(self, why: str) -> cython.bint:
        """Not again: False, and the span says why."""
        if self.record.trace_flags & 1 and self.cluster.max_attempts > 1 and self.node is not None:
            self.retry_why = why
            self.note("not tried again", "", self.node, None, self.number)
        return False

    def note(self, name: str, outcome: str, node: Node, reason: Any, number: cython.int) -> cython.int:
        """Write an event down with the request; only where its trace is sampled."""
        record: Record = self.record
        attributes: dict[str, Any] = {"mesh.endpoint": node.resource, "mesh.attempt": number,
                                      "mesh.budget": self.cluster.budget.level(self.hub.now)}
        if name == "hedge":
            attributes["mesh.hedge"] = outcome
        else:
            attributes["mesh.retry"] = self.retry_why
        if reason is not None:
            attributes["mesh.reason"] = reason.code
        if record.events is None:
            record.events = []
        record.events.append((self.hub.wall_ns(), name, attributes))
        return 0

    def close_attempt(self, reason: Any, why: str) -> cython.int:
        """Let go of an attempt that another one follows."""
        record: Record = self.record
        self.retry_why = why
        if record.trace_flags & 1:
            self.note("attempt failed", "", self.node, reason, self.number)
        self.leave_upstream(CANCEL)
        if self.tried is None:
            self.tried = []
        self.tried.append(self.node)
        if self.attempt_record is not record:
            self.attempt_record.http_status = record.http_status
            self.attempt_record.grpc_status = record.grpc_status
        self.end_attempt(reason)
        self.between = True
        if self.replay is not None:  # else what is pending is all there is of the body
            self.release_pending()
        self.try_deadline = 0.0
        self.hedge_at = 0.0
        record.http_status = 0
        record.grpc_status = -1
        return 0

    def leave_node(self, node: Node, number: cython.int) -> cython.int:
        """The attempt of this number is over at `node`."""
        if number > 1:
            node.retries -= 1
        return node.end()

    def end_attempt(self, reason: Any) -> cython.int:
        """Close the books on an attempt that failed with `reason`; None: given up without a verdict on the node."""
        node: Node = self.node
        if node is None:
            return 0
        self.timed(False)
        self.node = None
        self.leave_node(node, self.number)
        if reason is not None and reason.fault is errors.Fault.UPSTREAM:
            self.tell(node, reason, self.record)
        if reason is not None and self.entry.decisions is not None:
            self.entry.decided(self.attempt_record, self.record, self.cluster.why, reason)
        if self.attempt_record is not self.record:
            self.entry.add_record(self.attempt_record, reason)
        return 0

    def tell(self, node: Node, reason: Any, record: Record) -> cython.int:
        """Tell the outlier detection how an attempt at `node` ended: with `reason`, or with the status in `record`.

        An endpoint that is full has not failed: to take it out would give the others what it has, too.
        """
        if self.full:
            self.full = False
            return 0
        if reason is not None and reason is not errors.UPSTREAM_STATUS:
            return self.cluster.failed(node, reason.code)
        if not to_blame(record.http_status, record.grpc_status):
            return self.cluster.succeeded(node)
        return self.cluster.failed(node, f"grpc-status {record.grpc_status}" if record.grpc_status > 0
                                   else f"status {record.http_status}")

    def timed(self, ok: cython.bint) -> cython.int:
        """Tell the balancer how long this attempt took: to its answer, or until it was given up; once."""
        if self.sent_at > 0:
            if ok and self.cluster.hedging is not None:
                self.cluster.hedging.observe(self.hub.now - self.sent_at, self.hub.now)
            self.cluster.observe(self.node, self.hub.now - self.sent_at, ok)
            self.sent_at = 0.0
        return 0
