# cython: language_level=3, wraparound=False, initializedcheck=False
"""One proxied request from its first header to its last byte: what the caller sends, and what it is answered.

What lives here: the life of an HTTP or gRPC request in the sidecar, in both directions (outbound with a service's
cluster, inbound with the local app as the only endpoint), up to its record. What this must not know: which endpoint
and whether again (`retrying`), sockets, framing, where the endpoints come from.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh import errors
from mesh.balance.node import Node
from mesh.dataplane.affinity import value_of
from mesh.dataplane.attempt import Attempt
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.entry import Entry, Ticket
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import SERVER, Record
from mesh.dataplane.reply import failure_head, failure_message, failure_trailers, passed_on, retry_fields
from mesh.dataplane.retrying import Retrying
from mesh.dataplane.transport import Transport
from mesh.resilience.pushback import NEVER, OVERLOAD_CODES, OVERLOAD_STATUSES, asked_to_wait
from mesh.resilience.replay import ReplayBuffer
from mesh.wire.chain import NAMES, take_member
from mesh.wire.codec import Codec, Stream
from mesh.wire.grpc import grpc_status_of, parse_timeout
from mesh.wire.hpack import Block, Head

if not cython.compiled:
    from mesh.dataplane.attempt import CANCEL
    from mesh.dataplane.relay import CONNECTING, DONE, NEW, WAITING
    from mesh.dataplane.retrying import REPEATABLE, RESOURCE_EXHAUSTED, TOO_MANY_REQUESTS

# How long a request waits for discovery to tell what the service is, in seconds.
DISCOVERY_WAIT = cython.declare(cython.double, 2.0)
# RST_STREAM codes, RFC 9113 section 7
NO_ERROR = cython.declare(cython.int, 0)
INTERNAL_ERROR = cython.declare(cython.int, 2)
# What the callee's sidecar says that has no room for a request.
FULL = cython.declare(frozenset, frozenset(
    reason.code.encode() for reason in (errors.QUEUE_FULL, errors.QUEUE_TIMEOUT, errors.LIMIT_REQUESTS,
                                        errors.LIMIT_CONNECTIONS, errors.OVERLOADED)))


class Exchange(Retrying):
    """One request, which is also the attempt that is its current one."""

    def __init__(self, entry: Entry) -> None:
        self.set_up(entry)

    def clear(self) -> None:
        Retrying.clear(self)
        self.renewed = False
        self.retry_after = 0.0
        self.ticket: Any = None

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
        if entry.kind != SERVER and (head.attempts > 0 or self.record.tracestate):
            self.inherit()
        if block.grpc_timeout is not None:
            timeout: cython.double = parse_timeout(block.grpc_timeout)
            if timeout < 0:
                return self.fail(errors.CALLER_PROTOCOL_ERROR, "malformed grpc-timeout")
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

    def inherit(self) -> cython.int:
        """Take what a caller further up says of attempts out of the request; it goes on with what is left of them."""
        count: cython.int = self.head.attempts
        told: cython.int
        if count > 0:
            self.head = self.head.without(NAMES)
        if b"mesh=" in self.record.tracestate:
            told, self.record.tracestate = take_member(self.record.tracestate)
            if told > 0 and (count == 0 or told < count):
                count = told
        self.inherited = count
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
            self.owner = self.inherited == 0 and self.may_run_twice()
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

    # -- from the endpoint

    def on_response_headers(self, block: Block, end: cython.bint) -> cython.int:
        head: Head = block.head
        not_delivered: cython.bint = head.not_delivered and self.entry.kind != SERVER
        if head.not_delivered or head.reason is not None:
            self.full = not_delivered and head.reason in FULL
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
            if (record.grpc_status > 0 or head.status >= 400) and self.answer_failed(head, not_delivered):
                return 0
            self.committed = True
            self.replay = None
            if self.ticket is not None:
                self.give_back(True, False)
            self.try_deadline = 0.0
            self.hedge_at = 0.0
            if self.hedge is not None:
                self.drop_hedge("lost", None)
            self.timed(not (record.grpc_status > 0 or head.status >= 500))
            if self.cluster.affinity is not None:
                head = self.cluster.affinity.mark(self.head, head, self.node)
        if end:
            self.response_ended = True
        return self.send_response_head(head, end)

    def answer_failed(self, head: Head, not_delivered: cython.bint) -> cython.bint:
        """The answer says that it failed: whether another attempt goes on in its place."""
        cluster: Cluster = self.cluster
        grpc_status: cython.int = -1
        http_status: cython.int = 0
        wait: cython.double = 0.0
        pushback: bytes | None = None
        after: bytes | None = None
        if self.entry.kind == SERVER:
            return False
        if self.is_grpc:
            grpc_status = self.record.grpc_status
            if grpc_status < 0:
                grpc_status = grpc_status_of(head.status)
            pushback = value_of(head, b"grpc-retry-pushback-ms")
        else:
            http_status = head.status
            if http_status < 500 and http_status != TOO_MANY_REQUESTS and http_status not in cluster.retry.statuses:
                return False  # the caller's doing: it comes by the thousand, and nobody need be told why it stays
        if head.status in OVERLOAD_STATUSES or grpc_status in OVERLOAD_CODES:
            after = value_of(head, b"retry-after")
        if pushback is not None or after is not None:
            wait = asked_to_wait(pushback, after, self.hub.wall_ns() * 1e-9)
            # What a sidecar says of its own accord is about the caller, not about the endpoint.
            if head.reason is None and 0 < wait < NEVER and (
                    http_status == TOO_MANY_REQUESTS or grpc_status == RESOURCE_EXHAUSTED):
                cluster.rest(self.node, wait)
        return self.try_again(errors.NOT_DELIVERED if not_delivered else errors.UPSTREAM_STATUS, grpc_status,
                              http_status, wait)

    def on_upstream_lost(self) -> cython.int:
        if not self.response_ended and not self.up.failed and self.up.conn.textual and self.try_fresh_connection():
            return 0
        return Attempt.on_upstream_lost(self)

    def try_fresh_connection(self) -> cython.bint:
        """An HTTP/1.1 connection that had been used before closed without a word: the server had just given it up.

        That is no failure of the endpoint. What may run twice (RFC 9112, section 9.3.1) is sent once more, on a new
        connection to the same endpoint; whatever the retry policy, but once.
        """
        stream: Stream = self.up_stream
        if (self.renewed or self.committed or stream.id == 1 or stream.headers_received
                or self.head.method not in REPEATABLE or not self.replayable()):
            return False
        self.renewed = True
        self.leave_upstream(CANCEL)
        if self.replay is not None:
            self.release_pending()
        self.request_sent = False
        self.rewind()
        self.state = CONNECTING
        self.pool.discard_idle()
        self.pool.wait(self)
        return True

    # -- failure

    def fail(self, reason: Any, detail: str) -> cython.int:
        """Answer the caller ourselves: nothing more will come from upstream."""
        self.leave_upstream(CANCEL)
        self.end_attempt(reason)
        conn: Codec = self.down.conn
        record: Record = self.record
        if detail == "" and record.endpoint:
            detail = f"{record.endpoint}, attempt {self.attempts}"
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

    def give_back(self, answered: cython.bint, cancelled: cython.bint) -> cython.int:
        """Return the ticket: somebody else may be let in."""
        ticket: Ticket = self.ticket
        self.ticket = None
        return ticket.done(answered, cancelled)

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
            self.leave_node(node, self.number)
            self.tell(node, None, record)
            if self.entry.decisions is not None:
                self.entry.decided(self.attempt_record, record, self.cluster.why, None)
            if self.attempt_record is not record:
                self.attempt_record.http_status = record.http_status
                self.attempt_record.grpc_status = record.grpc_status
                self.entry.add_record(self.attempt_record, None)
        if self.hedge is not None:
            self.drop_hedge("dropped", None)
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
        if self.repeated:
            self.cluster.room.retries -= 1
        if self.ticket is not None:
            self.give_back(reason is None, reason is errors.CALLER_RESET or reason is errors.CALLER_GONE)
        if reason is not None:
            self.entry.failures += 1
        record.request_bytes = self.request_bytes
        record.response_bytes = self.response_bytes
        return self.entry.add_record(record, reason)
