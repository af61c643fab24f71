# cython: language_level=3, wraparound=False, initializedcheck=False
"""One proxied request from its first header to its last byte: pick, send, maybe again, answer, record.

What lives here: the life of an HTTP/2 or gRPC request in the sidecar, in both directions (outbound with a service's
cluster, inbound with the local app as the only endpoint). Decisions are asked of the pure parts (picker, classify,
budget, backoff); this carries them out. What this must not know: sockets, framing, where the endpoints come from.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh import errors
from mesh.balance.ejection import to_blame
from mesh.balance.node import Node
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.entry import Entry
from mesh.dataplane.gate import Gate
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import SERVER, Record
from mesh.dataplane.relay import Relay
from mesh.dataplane.reply import failure_head, failure_message, failure_trailers, passed_on, retry_fields
from mesh.dataplane.timers import Timer
from mesh.dataplane.transport import Transport
from mesh.dataplane.upstream import Pool
from mesh.resilience.classify import is_idempotent, may_repeat, retry_reason
from mesh.resilience.replay import ReplayBuffer
from mesh.wire.codec import Codec, Stream
from mesh.wire.grpc import grpc_status_of, parse_timeout
from mesh.wire.hpack import Block, Head

if not cython.compiled:
    from mesh.dataplane.relay import CONNECTING, DONE, NEW, OPEN, PAUSED, QUEUED, WAITING

# How long a request waits for discovery to tell what the service is, in seconds.
DISCOVERY_WAIT = cython.declare(cython.double, 2.0)
# RST_STREAM codes, RFC 9113 section 7
NO_ERROR = cython.declare(cython.int, 0)
INTERNAL_ERROR = cython.declare(cython.int, 2)
REFUSED_STREAM = cython.declare(cython.int, 7)
CANCEL = cython.declare(cython.int, 8)


# A stream is not reset before it is this old, in seconds: callers share the connection to an endpoint, and one who
# cancels everything at once must not have the endpoint take it for a rapid reset (CVE-2023-44487) and hang up on all.
RESET_AGE = cython.declare(cython.double, 0.1)


class LateReset(Timer):
    """Resets a stream that nobody waits for any more; what still comes on it is dropped."""

    def __init__(self, up: Transport, stream: Stream, pool: Pool) -> None:
        Timer.__init__(self)
        self.up = up
        self.stream = stream
        self.pool = pool

    def fire(self) -> cython.int:
        if not self.up.closed and not self.stream.closed:
            self.up.conn.reset(self.stream, CANCEL)
            self.pool.settle(self.up)
        return 0


class Exchange(Relay):
    """One request."""

    def __init__(self, entry: Entry) -> None:
        Relay.__init__(self)
        self.entry = entry
        self.hub = entry.hub
        self.armed = False
        self.cluster: Any = None
        self.node: Any = None
        self.pool: Any = None
        self.attempt = 0
        self.tried: list[Node] | None = None
        self.request_deadline = 0.0
        self.caller_deadline = False
        self.record: Any = None
        self.attempt_record: Any = None
        self.sent_at = 0.0
        self.retry_why = ""
        self.renewed = False
        self.opened_at = 0.0
        self.retrying = False
        self.retry_after = 0.0

    # -- from the caller

    def begin(self, down: Transport, stream: Stream, block: Block, end: cython.bint,
              key: cython.ulonglong) -> cython.int:
        """Take a request's headers; everything that follows for `stream` comes to this exchange.

        Nothing has gone to an endpoint before `proceed`: until then a request can be taken back for free.
        """
        entry: Entry = self.entry
        hub: Hub = self.hub
        head: Head = block.head
        self.down = down
        self.down_stream = stream
        stream.owner = self
        self.head = head
        self.key = key
        self.is_grpc = head.is_grpc
        self.request_ended = end
        entry.requests += 1
        entry.active += 1
        self.record = entry.begin_record(block, down.peer_host, down.conn.textual)
        cluster: Cluster | None = entry.cluster_for(head)
        if cluster is None:
            return self.fail(errors.NO_ROUTE, f"{(head.authority or b'').decode('latin-1')!r} names no service")
        self.cluster = cluster
        self.record.service = cluster.name
        if block.grpc_timeout is not None:
            timeout: cython.double = parse_timeout(block.grpc_timeout)
            if timeout < 0:
                return self.fail(errors.CALLER_PROTOCOL_ERROR, "malformed grpc-timeout")
            self.caller_deadline = True
            if timeout == 0:
                return self.fail(errors.DEADLINE, "the deadline had passed on arrival")
            self.request_deadline = hub.now + timeout
        if hub.memory.held > hub.shed_above:
            hub.shed += 1
            return self.fail(errors.OVERLOADED, "no memory is left for new requests")
        return 0

    def proceed(self) -> cython.int:
        """What has been taken by `begin`, and neither failed nor been taken back, goes on its way; once."""
        hub: Hub = self.hub
        cluster: Cluster = self.cluster
        if self.state != NEW:
            return 0
        if cluster.known():
            return self.admit()
        self.state = WAITING
        if not cluster.wait_known(self):
            return self.fail(errors.OVERLOADED, f"too many requests wait to learn what {cluster.name} is")
        until: cython.double = hub.now + DISCOVERY_WAIT
        if 0 < self.request_deadline < until:
            until = self.request_deadline
        hub.timers.add(self, until, hub.now)
        return 0

    def on_cluster_known(self) -> cython.int:
        if self.state == WAITING:
            self.hub.timers.cancel(self)
            return self.admit()
        return 0

    def admit(self) -> cython.int:
        """The service is known: set the time limit, prepare to repeat, make the first attempt."""
        hub: Hub = self.hub
        cluster: Cluster = self.cluster
        self.state = NEW
        if cluster.service is None:
            return self.fail(errors.NO_ROUTE if self.entry.cluster is None else errors.NO_SERVICE, cluster.name)
        if cluster.rates is not None:
            self.retry_after = cluster.rates.take(self.head, self.down.peer_host, hub.now)
            if self.retry_after > 0:
                cluster.room.refuse(errors.RATE_LIMITED)
                return self.fail(errors.RATE_LIMITED, cluster.name)
        if cluster.request_timeout > 0:
            limit: cython.double = hub.now + cluster.request_timeout
            if self.request_deadline == 0 or limit < self.request_deadline:
                self.request_deadline = limit
        if self.request_deadline > 0:
            hub.timers.add(self, self.request_deadline, hub.now)
        cluster.budget.deposit(hub.now)
        if cluster.affinity is not None:
            self.key = cluster.affinity.key(self.head, self.key)
        if cluster.max_attempts > 1:
            self.replay = ReplayBuffer(cluster.replay_bytes)
            for chunk, _ in self.pending or ():
                if self.replay is not None and not self.replay.append(chunk):
                    self.replay = None
        return self.start_attempt()

    def on_caller_gone(self, reset: cython.bint) -> cython.int:
        """The caller cancelled the stream or its connection broke."""
        if self.state != DONE:
            self.leave_upstream(CANCEL)
            self.end_attempt(None)
            self.finish(errors.CALLER_RESET if reset else errors.CALLER_GONE)
        return 0

    def uploading(self) -> cython.bint:
        """Whether it is the caller that a body is waited for from, and one that has no right to be silent."""
        return not (self.request_ended or self.is_grpc or self.pending or self.head.method == b"CONNECT")

    # -- attempts

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
        if cluster.balancer.half_open:
            cluster.balancer.safe = self.may_go_elsewhere()
        node: Node | None = cluster.place(self.head, self.key, self.tried)
        if node is not None and gate.is_full(node):
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
        self.attempt += 1
        self.node = node
        node.begin()
        record: Record = self.record
        record.attempts = self.attempt
        if self.attempt > 1:
            self.request_sent = False
            record = self.entry.begin_attempt_record(record, self.retry_why)
            self.attempt_record = record
            self.rewind()
        pool: Pool = cluster.pool_of(node, self.down.conn.textual)
        self.pool = pool
        record.attempt = self.attempt
        record.endpoint = node.resource
        record.peer_host = pool.host
        record.peer_port = pool.port
        transport: Transport | None = pool.acquire()
        if transport is not None and pool.waiting.count == 0:
            self.up = transport
            return self.open_stream()
        self.state = CONNECTING
        return pool.wait(self)

    def may_go_elsewhere(self) -> cython.bint:
        """Whether another endpoint may be asked the same, should this attempt fail in any way."""
        head: Head = self.head
        return (self.attempt < self.cluster.max_attempts - 1 and (self.replay is not None or self.request_bytes == 0)
                and (head.idempotency_key or may_repeat(head.method)
                     or is_idempotent(self.cluster.retry.idempotent_methods, head.path or b"")))

    def on_connection(self, transport: Transport) -> cython.int:
        if self.state == CONNECTING:
            self.up = transport
            self.open_stream()
        return 0

    def on_no_connection(self, reason: object, detail: str) -> cython.int:
        if self.state == CONNECTING:
            self.state = PAUSED
            self.attempt_failed(reason, detail)
        return 0

    def open_stream(self) -> cython.int:
        """Send the request's headers, with our span as the parent and what is left of the deadline."""
        conn: Codec = self.up.conn
        problem: str | None = conn.request_problem(self.head)
        if problem is not None:  # HTTP/2 lets through what would be two requests, or none, in HTTP/1.1
            return self.fail(errors.CALLER_PROTOCOL_ERROR, problem)
        if self.head.protocol is not None and not conn.tunnels():
            return self.fail(errors.NO_UPGRADE, "")
        record: Record = self.record if self.attempt_record is None else self.attempt_record
        left: cython.double = 0.0
        if self.request_deadline > 0 and (self.caller_deadline or self.is_grpc):
            left = max(self.request_deadline - self.hub.now, 0.000001)
        end: cython.bint = self.request_ended and not self.pending and self.trailers is None
        self.state = OPEN
        self.opened_at = self.hub.now
        self.up_stream = conn.request(self, self.head, self.entry.call_fields(record, left, conn.textual), end)
        self.request_sent = end
        self.sent_at = self.hub.now
        if not end and (self.pending or self.request_ended):
            self.pump_request()
        return 0

    # -- from the endpoint

    def on_response_headers(self, block: Block, end: cython.bint) -> cython.int:
        head: Head = block.head
        not_delivered: cython.bint = head.not_delivered and self.entry.kind != SERVER
        if head.not_delivered or head.reason is not None:
            head = passed_on(head, self.entry.kind == SERVER)
        record: Record = self.record
        if self.committed:  # trailers
            if head.grpc_status >= 0:
                record.grpc_status = head.grpc_status
        elif 100 <= head.status < 200:
            return self.send_response_head(head, False)
        else:
            record.http_status = head.status
            if end and head.grpc_status >= 0:
                record.grpc_status = head.grpc_status
            failed: cython.bint = record.grpc_status > 0 or head.status >= 500
            if failed and self.attempt < self.cluster.max_attempts and self.try_again(
                    errors.NOT_DELIVERED if not_delivered else errors.UPSTREAM_STATUS,
                    record.grpc_status if record.grpc_status > 0 else grpc_status_of(head.status)):
                return 0
            self.committed = True
            self.replay = None
            self.timed(not failed)
            if self.cluster.affinity is not None:
                head = self.cluster.affinity.mark(self.head, head, self.node)
        if end:
            self.response_ended = True
        return self.send_response_head(head, end)

    def on_upstream_reset(self, code: cython.uint, by_peer: cython.bint) -> cython.int:
        if self.response_ended:
            return 0  # the whole answer is here; what the endpoint resets is our unfinished upload
        if code == REFUSED_STREAM and not self.committed:
            return self.attempt_failed(errors.REFUSED_STREAM, "")
        if not by_peer:
            return self.attempt_failed(errors.UPSTREAM_PROTOCOL_ERROR, "")
        return self.attempt_failed(errors.RESET, f"RST_STREAM code {code}")

    def on_upstream_lost(self) -> cython.int:
        if self.response_ended:
            return 0
        if self.up.failed:
            return self.attempt_failed(errors.UPSTREAM_PROTOCOL_ERROR, "")
        if self.up.conn.textual and self.try_fresh_connection():
            return 0
        return self.attempt_failed(errors.CONNECTION_LOST, "")

    def try_fresh_connection(self) -> cython.bint:
        """An HTTP/1.1 connection that had been used before closed without a word: the server had just given it up.

        That is no failure of the endpoint. What may run twice (RFC 9112, section 9.3.1) is sent once more, on a new
        connection to the same endpoint; whatever the retry policy, but once.
        """
        stream: Stream = self.up_stream
        if (self.renewed or self.committed or stream.id == 1 or stream.headers_received
                or not may_repeat(self.head.method) or (self.replay is None and self.request_bytes > 0)):
            return False
        self.renewed = True
        self.leave_upstream(CANCEL)
        self.release_pending()
        self.request_sent = False
        self.rewind()
        self.state = CONNECTING
        self.pool.discard_idle()
        self.pool.wait(self)
        return True

    # -- failure

    def attempt_failed(self, reason: Any, detail: str) -> cython.int:
        """This attempt is over without an answer: again elsewhere, or tell the caller."""
        if self.try_again(reason, -1):
            return 0
        return self.fail(reason, detail)

    def try_again(self, reason: Any, grpc_status: cython.int) -> cython.bint:
        """Ask the policy; schedule the next attempt if it says yes. Otherwise nothing has changed."""
        cluster: Cluster = self.cluster
        hub: Hub = self.hub
        verdict: Any = retry_reason(
            cluster.retry, reason=reason, grpc_status=grpc_status, method=self.head.method or b"",
            path=self.head.path or b"",
            idempotency_key=self.head.idempotency_key, attempt=self.attempt,
            replayable=self.replay is not None or self.request_bytes == 0, committed=self.committed)
        if not verdict.retry:
            return False
        delay: cython.double = cluster.backoff.delay(self.attempt, hub.rng)
        if 0 < self.request_deadline <= hub.now + delay:
            return False
        if not self.retrying and not cluster.room.may_retry():
            self.retry_why = errors.LIMIT_RETRIES.code
            return False
        if not cluster.budget.withdraw(hub.now):
            self.retry_why = "retry budget exhausted"
            return False
        if not self.retrying:
            self.retrying = True
            cluster.room.retries += 1
        self.entry.retries += 1
        node: Node = self.node
        record: Record = self.record
        if record.trace_flags & 1:
            if record.events is None:
                record.events = []
            record.events.append((hub.wall_ns(), "attempt failed",
                                  {"mesh.endpoint": node.resource, "mesh.reason": reason.code,
                                   "mesh.attempt": self.attempt, "mesh.retry": verdict.why}))
        self.leave_upstream(CANCEL)
        if self.tried is None:
            self.tried = []
        self.tried.append(node)
        self.end_attempt(reason)
        self.release_pending()
        self.retry_why = verdict.why
        record.http_status = 0
        record.grpc_status = -1
        self.state = PAUSED
        hub.timers.add(self, hub.now + delay, hub.now)
        return True

    def fire(self) -> cython.int:
        """The timer: end of a pause between attempts, of the wait for discovery, or of the request's time."""
        hub: Hub = self.hub
        if self.state == PAUSED:
            if self.request_deadline > 0:
                hub.timers.add(self, self.request_deadline, hub.now)
            return self.start_attempt()
        if self.state == WAITING and (self.request_deadline == 0 or hub.now < self.request_deadline):
            return self.fail(errors.NOT_DISCOVERED, self.cluster.name)
        if self.state != DONE:
            self.fail(errors.DEADLINE, "")
        return 0

    def fail(self, reason: Any, detail: str) -> cython.int:
        """Answer the caller ourselves: nothing more will come from upstream."""
        self.leave_upstream(CANCEL)
        self.end_attempt(reason)
        conn: Codec = self.down.conn
        record: Record = self.record
        if detail == "" and record.endpoint:
            detail = f"{record.endpoint}, attempt {self.attempt}"
        if self.down.closed or self.down_stream.local_closed:
            return self.finish(reason)
        if self.is_grpc:
            record.grpc_status = reason.grpc_status
        if not self.committed:
            record.http_status = 200 if self.is_grpc else reason.http_status
            extra: bytes = conn.field(b"grpc-message", failure_message(reason, detail)) if self.is_grpc else b""
            if self.retry_after > 0:
                extra += retry_fields(conn, self.retry_after, self.is_grpc)
            conn.send_head(self.down_stream, failure_head(reason, self.is_grpc, self.entry.kind == SERVER), extra, True)
        elif self.is_grpc:
            conn.send_head(self.down_stream, failure_trailers(reason),
                           conn.field(b"grpc-message", failure_message(reason, detail)), True)
        else:
            conn.reset(self.down_stream, INTERNAL_ERROR)
        return self.finish(reason)

    # -- ends

    def leave_upstream(self, code: cython.uint) -> cython.int:
        """Let go of the upstream stream, resetting it with `code` unless it is closed."""
        stream: Stream = self.up_stream
        if self.state == CONNECTING and self.pool is not None:
            self.pool.leave(self)
        elif self.state == WAITING:
            self.cluster.stop_waiting(self)
        elif self.state == QUEUED:
            gate: Gate = self.cluster.gate
            gate.leave(self)
        if stream is not None:
            self.drop_response()
            self.up_stream = None
            stream.owner = None
            if not self.up.closed and not (stream.local_closed and stream.remote_closed):
                if code == CANCEL and not self.up.conn.textual and self.hub.now < self.opened_at + RESET_AGE:
                    self.hub.timers.add(LateReset(self.up, stream, self.pool), self.opened_at + RESET_AGE, self.hub.now)
                else:
                    self.up.conn.reset(stream, code)
                    self.pool.settle(self.up)
        self.up = None
        return 0

    def end_attempt(self, reason: Any) -> cython.int:
        """Close the books on an attempt that failed with `reason`; None: given up without a verdict on the node."""
        node: Node = self.node
        if node is None:
            return 0
        self.timed(False)
        self.node = None
        node.end()
        if reason is not None and reason.fault is errors.Fault.UPSTREAM:
            record: Record = self.record
            if reason is not errors.UPSTREAM_STATUS:
                self.cluster.failed(node, reason.code)
            elif to_blame(record.http_status, record.grpc_status):
                self.cluster.failed(node, _status(record))
            else:
                self.cluster.succeeded(node)
        if self.attempt_record is not None:
            self.entry.add_record(self.attempt_record, reason)
            self.attempt_record = None
        return 0

    def timed(self, ok: cython.bint) -> cython.int:
        """Tell the balancer how long this attempt took: to its answer, or until it was given up; once."""
        if self.sent_at > 0:
            self.cluster.observe(self.node, self.hub.now - self.sent_at, ok)
            self.sent_at = 0.0
        return 0

    def answered(self) -> cython.int:
        return self.finish(None)

    def unreadable(self) -> cython.int:
        return self.fail(errors.STALLED_READER, "")

    def finish(self, reason: Any) -> cython.int:
        """The request is over, answered in full or given up; `reason` says why it failed, None when it did not."""
        if self.state == DONE:
            return 0
        record: Record = self.record
        node: Node = self.node
        if node is not None:
            self.node = None
            node.end()
            if to_blame(record.http_status, record.grpc_status):
                self.cluster.failed(node, _status(record))
            else:
                self.cluster.succeeded(node)
            if self.attempt_record is not None:
                self.attempt_record.http_status = record.http_status
                self.attempt_record.grpc_status = record.grpc_status
                self.entry.add_record(self.attempt_record, None)
        if self.up_stream is not None:
            self.leave_upstream(CANCEL)
        self.state = DONE
        self.hub.timers.cancel(self)
        self.release_pending()
        self.drop_response()
        self.replay = None
        down: Transport = self.down
        stream: Stream = self.down_stream
        stream.owner = None
        if not down.closed and stream.local_closed and not stream.remote_closed:
            down.conn.reset(stream, NO_ERROR)  # RFC 9113 8.1: the answer is complete, stop the upload
        self.entry.active -= 1
        if self.retrying:
            self.cluster.room.retries -= 1
        if reason is not None:
            self.entry.failures += 1
        if self.cluster is not None:
            record.why = self.cluster.why
        record.request_bytes = self.request_bytes
        record.response_bytes = self.response_bytes
        return self.entry.add_record(record, reason)


def _status(record: Record) -> str:
    """An answer that counts against its endpoint, in a word."""
    return f"grpc-status {record.grpc_status}" if record.grpc_status > 0 else f"status {record.http_status}"
