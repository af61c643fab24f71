"""Which outcomes are worth another attempt, and safe.

What lives here: one pure function from (policy, what happened, what the request is) to a verdict that says why. What
this must not know: budgets, delays, endpoints, the response's bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from mesh.errors import (
    DEADLINE,
    DRAIN_DEADLINE,
    LIMIT_CONNECTIONS,
    LIMIT_REQUESTS,
    LIMIT_RETRIES,
    NO_ENDPOINTS,
    NO_HEALTHY_UPSTREAM,
    NO_SERVICE,
    NOT_DELIVERED,
    NOT_DISCOVERED,
    OVERLOADED,
    QUEUE_FULL,
    QUEUE_TIMEOUT,
    TOO_MANY_SESSIONS,
    UPSTREAM_STATUS,
    Fault,
    Reason,
)
from mesh.model.retry import RETRYABLE_CODES, RetryPolicy

# By number. RETRYABLE_CODES has those from 2 on in their order.
STATUS_NAMES = ("OK", "CANCELLED", *RETRYABLE_CODES)

# RFC 9110, section 9.2.2.
IDEMPOTENT_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


class Verdict(NamedTuple):
    """`retry`: try again, if the budget allows. `why`: one phrase for spans and logs."""

    retry: bool
    why: str


NO_FAILURE = Verdict(False, "no failure")
COMMITTED = Verdict(False, "the response has begun")
ATTEMPTS_USED = Verdict(False, "all attempts used")
TOO_LARGE = Verdict(False, "the body exceeds replay_bytes")
CALLER_FAULT = Verdict(False, "the caller's doing")
OUT_OF_TIME = Verdict(False, "the deadline passed")
SHUTTING_DOWN = Verdict(False, "the sidecar is shutting down")
FULL = Verdict(False, "the service is at its limit")
NO_OTHER = Verdict(False, "no endpoint to try")
OVERLOAD = Verdict(False, "the sidecar is overloaded")
CODE_NOT_LISTED = Verdict(False, "the status is not in retry.codes")
STATUS_NOT_LISTED = Verdict(False, "the status is not in retry.statuses")
MAY_HAVE_RUN = Verdict(False, "the app may have run it, and it is not declared idempotent")
OWNED_ABOVE = Verdict(False, "the app may have run it, and a caller further up repeats it")
CHAIN_USED = Verdict(False, "all attempts of the chain of calls used")
NOT_SENT = Verdict(True, "not sent")
REFUSED_DELIVERY = Verdict(True, "not delivered")
KEYED = Verdict(True, "idempotency-key")
IDEMPOTENT = Verdict(True, "idempotent method")


def retry_reason(policy: RetryPolicy, *, reason: Reason | None, grpc_status: int, method: bytes, path: bytes,
                 idempotency_key: bool, attempt: int, replayable: bool, committed: bool, http_status: int = 0,
                 inherited: int = 0) -> Verdict:
    """Return whether a request whose attempt ended may be tried again, and why.

    `reason`: why the mesh calls the attempt failed; None for a response that is judged by its status alone.
    `grpc_status`: of the endpoint's response, -1 where it sent none. `http_status`: of its response to a request that
    is no gRPC, else 0. `attempt`: the one that ended, 1 is the first. `replayable`: all the body's bytes so far are
    still there. `committed`: response headers went to the caller. `inherited`: the attempts that a caller further up
    the chain of calls leaves, this hop's first included; 0: there is none that would repeat what may have run.

    The rules, of which the first that fits decides; `proto/mesh/v1/service.proto` is their specification:
    1. no failure, or a response that has begun: no;
    2. the caller's doing, our own shutdown, a passed deadline, no endpoint to go to, our own overload: no;
    3. attempts used up, or the body is gone: no;
    4. a response with a status (also one by which the callee's sidecar says that it did not deliver): only if the
       status is in `policy.codes` (gRPC) or `policy.statuses` (503 always, if it was not delivered), for a callee that
       says RESOURCE_EXHAUSTED does not mean "again";
    5. what never reached the app: yes, whatever the method;
    6. what may have reached it: not where a caller further up does it; else only with an idempotency key, an HTTP
       method that is idempotent (RFC 9110, section 9.2.2; gRPC always uses POST), or a path declared idempotent.
    """
    answered = reason is None or reason is UPSTREAM_STATUS
    if reason is None and grpc_status <= 0 and http_status < 400:
        return NO_FAILURE
    if committed:
        return COMMITTED
    if reason is not None:
        if reason.fault is Fault.CALLER:
            return CALLER_FAULT
        final = _FINAL.get(reason.code)
        if final is not None:
            return final
    if attempt >= policy.max_attempts:
        return ATTEMPTS_USED
    if 0 < inherited <= attempt:
        return CHAIN_USED
    if not replayable:
        return TOO_LARGE
    undelivered = reason is NOT_DELIVERED
    if http_status > 0:
        if (answered or undelivered) and http_status not in policy.statuses and not (
                undelivered and http_status == NOT_DELIVERED.http_status):
            return STATUS_NOT_LISTED
    elif ((answered or (undelivered and grpc_status >= 0))
            and (not 0 <= grpc_status < len(STATUS_NAMES) or STATUS_NAMES[grpc_status] not in policy.codes)):
        return CODE_NOT_LISTED
    if undelivered:
        return REFUSED_DELIVERY
    if reason is not None and not reason.sent_anything:
        return NOT_SENT
    if inherited:
        return OWNED_ABOVE
    return repeatable(policy, method, path, idempotency_key)


def repeatable(policy: RetryPolicy, method: bytes, path: bytes, idempotency_key: bool) -> Verdict:
    """Return whether a request may be run twice, and why."""
    if idempotency_key:
        return KEYED
    if method in IDEMPOTENT_METHODS or is_idempotent(policy.idempotent_methods, path):
        return IDEMPOTENT
    return MAY_HAVE_RUN


_FINAL = {DEADLINE.code: OUT_OF_TIME, DRAIN_DEADLINE.code: SHUTTING_DOWN, NO_SERVICE.code: NO_OTHER,
          NOT_DISCOVERED.code: NO_OTHER, NO_ENDPOINTS.code: NO_OTHER, NO_HEALTHY_UPSTREAM.code: NO_OTHER,
          OVERLOADED.code: OVERLOAD, TOO_MANY_SESSIONS.code: OVERLOAD, QUEUE_FULL.code: FULL, QUEUE_TIMEOUT.code: FULL,
          LIMIT_REQUESTS.code: FULL, LIMIT_CONNECTIONS.code: FULL, LIMIT_RETRIES.code: FULL}


def may_repeat(method: bytes | None) -> bool:
    """Whether a request may be run twice by its HTTP method alone."""
    return method in IDEMPOTENT_METHODS


def is_idempotent(methods: tuple[str, ...], path: bytes) -> bool:
    """Return whether `path`, up to a `?`, is one of the declared ones or begins with one that ends in `*`."""
    exact, prefixes = _compiled(methods)
    path = path.partition(b"?")[0]
    return path in exact or path.startswith(prefixes)


@lru_cache(maxsize=256)  # one entry per policy in force
def _compiled(methods: tuple[str, ...]) -> tuple[frozenset[bytes], tuple[bytes, ...]]:
    return (frozenset(method.encode() for method in methods if not method.endswith("*")),
            tuple(method[:-1].encode() for method in methods if method.endswith("*")))
