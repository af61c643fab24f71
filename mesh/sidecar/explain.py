"""What this sidecar would do with a call, told from its live state without touching it.

What lives here: a question to the parts that decide, and what they say as a message. What this must not know: how any
of them decides: it asks the listener's table, the balancer, the retry policy and the budget that calls go through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import Protocol as Interface

from mesh import errors
from mesh.balance.explain import SCORES, Candidate, Explanation, LevelShare, chance
from mesh.balance.hashing import source_key
from mesh.dataplane.affinity import Affinity, value_of
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.clusters import Clusters
from mesh.discovery.subscription import Refusal
from mesh.errors import MeshError, Reason
from mesh.model import Protocol, Service
from mesh.model.balance import HASHING, HashKey
from mesh.resilience.classify import retry_reason
from mesh.resource.convert import endpoint_to_proto, service_to_proto
from mesh.v1 import introspection_pb2 as pb
from mesh.wire.hpack import Head, make_head

LOCAL = "127.0.0.1"
# After which failures a person wants to know whether the call is made again: what happened, its reason code, the
# gRPC status of an answer.
_FAILURES: tuple[tuple[str, Reason, int], ...] = (
    ("the connection is refused or times out", errors.CONNECT_FAILED, -1),
    ("the endpoint refuses the stream unprocessed", errors.REFUSED_STREAM, -1),
    ("the callee's sidecar could not deliver it", errors.NOT_DELIVERED, 14),
    ("the connection breaks while it is in flight", errors.CONNECTION_LOST, -1),
    ("the endpoint answers UNAVAILABLE (HTTP 503)", errors.UPSTREAM_STATUS, 14),
)


class CannotTell(MeshError):
    """There is nothing to tell of such a call; the message says what to do."""


class Listeners(Interface):
    """The outbound ports."""

    def listener_of(self, service: str) -> tuple[str, str]:
        """Return name and address of the listener for a service, "" and "" where there is none."""


class Known(Interface):
    """What discovery has told."""

    @property
    def refusals(self) -> dict[str, Refusal]:
        """What is refused at present, by resource name."""

    def versions(self, service: str) -> tuple[str, str]:
        """Return the version in force of a service, and the newest of its endpoints."""


class Explainer:
    """Answers for one sidecar process."""

    def __init__(self, listeners: Listeners, clusters: Clusters, known: Known) -> None:
        self._listeners = listeners
        self._clusters = clusters
        self._known = known

    def answer(self, call: pb.HypotheticalCall) -> pb.Explanation:
        """Return what would happen to `call` now. Raises CannotTell."""
        listener, address = self._listeners.listener_of(call.service)
        cluster = self._clusters.find(call.service)
        if cluster is None or not listener:
            raise CannotTell(_unknown(call.service, listener))
        service: Service | None = cluster.service
        if not cluster.known():
            raise CannotTell(f"it has not been told yet what {call.service} is: can it reach the control plane?")
        if service is None:
            raise CannotTell(f"the registry has no service {call.service}: apply it, or start an instance of it")
        versions = self._known.versions(call.service)
        answer = pb.Explanation(listener=listener, address=address, service=service_to_proto(service),
                                service_version=versions[0], endpoints_version=versions[1])
        for name, refusal in self._known.refusals.items():
            if name.partition("/")[0] == call.service:
                answer.refused.append(f"{name} version {refusal.version}: {refusal.reason}")
        self._explain_pick(answer, call, cluster, service)
        return answer

    def _explain_pick(self, answer: pb.Explanation, call: pb.HypotheticalCall, cluster: Cluster,
                      service: Service) -> None:
        cluster.hub.touch()  # without traffic the hub's clock stands still
        now: float = cluster.hub.now
        source = call.source or LOCAL
        head = None if service.protocol in (Protocol.TCP, Protocol.UDP) else _head(call, service)
        balancer = cluster.balancer
        source_hash = source_key(source)
        cookies = value_of(head, b"cookie") if head is not None and balancer.sticky is not None else None
        found: Explanation = cluster.explain(
            lambda rng: source_hash if head is None or cluster.affinity is None
            else Affinity(balancer, rng).key(head, source_hash), cookies, head)
        answer.crowded = cluster.crowded()
        policy = balancer.policy
        answer.why = found.why
        answer.chance = "" if found.why == "sticky" else chance(policy)
        answer.score = SCORES.get(policy.algorithm, "")
        if policy.algorithm in HASHING:
            answer.key = _key_text(service, head, source, found.key)
        if found.picked is not None:
            answer.picked = found.picked.resource
        else:
            answer.reason = (errors.NO_HEALTHY_UPSTREAM if cluster.endpoints else errors.NO_ENDPOINTS).code
        answer.levels.extend(_level(level) for level in found.levels)
        answer.endpoints.extend(_endpoint(candidate) for candidate in found.candidates)
        answer.omitted = found.omitted
        if head is not None:
            answer.method = (head.method or b"").decode("latin-1")
            answer.retries.extend(_retries(service, head))
        answer.retry_budget = cluster.budget.level(now)


def policy_reports(found: Mapping[str, Mapping[str, Any]]) -> list[pb.PolicyReport]:
    """Return what is to be reported of policies of one's own: `found` are their statistics, by service."""
    reports: list[pb.PolicyReport] = []
    for name, statistics in found.items():
        values = {key: value for key, value in statistics.items() if key != "class"}
        reports.append(pb.PolicyReport(service=name, class_name=statistics["class"], **values))
    return reports


def _unknown(service: str, listener: str) -> str:
    if listener:
        return f"it has not called {service} so far and knows nothing of it: make a call, or start it with " \
               f"--outbound {service}=PORT"
    return f"it has no port for calls to {service}: start it with --outbound {service}=PORT or --outbound-shared PORT"


def _head(call: pb.HypotheticalCall, service: Service) -> Head:
    """The head of such a request, as the codec would have made it."""
    grpc = service.protocol is Protocol.GRPC
    method = call.method or ("POST" if grpc else "GET")
    fields = [(b":method", method.encode()), (b":scheme", b"http"), (b":authority", call.service.encode()),
              (b":path", (call.path or "/").encode())]
    given = [(header.name.encode(), header.value.encode()) for header in call.headers]
    if grpc and not any(name == b"content-type" for name, _ in given):
        fields.append((b"content-type", b"application/grpc"))
    return make_head(fields + given)


def _key_text(service: Service, head: Head | None, source: str, key: int) -> str:
    policy = service.balance.hash
    where = f"{policy.key.value} {policy.name}".strip()
    if policy.key is HashKey.SOURCE_IP or head is None:
        where = f"source_ip {source}"
    return f"{where} (hash {key:016x})"


def _retries(service: Service, head: Head) -> list[pb.ExplainedRetry]:
    found: list[pb.ExplainedRetry] = []
    for failure, reason, status in _FAILURES:
        verdict = retry_reason(service.retry, reason=reason, grpc_status=status if head.is_grpc else -1,
                               http_status=503 if status >= 0 and not head.is_grpc else 0,
                               method=head.method or b"", path=head.path or b"",
                               idempotency_key=head.idempotency_key, attempt=1, replayable=True, committed=False)
        found.append(pb.ExplainedRetry(failure=failure, again=verdict.retry, why=verdict.why))
    return found


def _level(level: LevelShare) -> pb.ExplainedLevel:
    return pb.ExplainedLevel(name=level.name, load=level.load, up=level.up, candidates=level.candidates,
                             panic=level.panic)


def _endpoint(candidate: Candidate) -> pb.ExplainedEndpoint:
    node = candidate.node
    endpoint = endpoint_to_proto(node.endpoint)
    endpoint.metadata.clear()  # as much as 20 KB each
    return pb.ExplainedEndpoint(endpoint=endpoint, level=candidate.level, state=candidate.state, note=candidate.note,
                                in_flight=node.in_flight, latency=candidate.latency, score=candidate.score,
                                share=candidate.share, ramp=candidate.ramp, ejections=node.ejections)
