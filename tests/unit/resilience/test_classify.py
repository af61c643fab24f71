"""retry_reason over all combinations, beside a table written by hand."""

from __future__ import annotations

import itertools

import pytest

from mesh import errors
from mesh.errors import REASONS, Reason
from mesh.model import RETRYABLE_CODES, RetryPolicy
from mesh.resilience.classify import STATUS_NAMES, is_idempotent, repeatable, retry_reason

POLICY = RetryPolicy(max_attempts=3, codes=frozenset(("UNAVAILABLE", "ABORTED")),
                     idempotent_methods=("/shop.Cart/Get", "/shop.Stock/*"), statuses=frozenset((429, 503)))
# What each reason means for another attempt:
#   never   it can't help, or nobody wants it any more
#   safe    nothing reached the app
#   status  as safe; where the callee's sidecar gave a status, that must be listed
#   maybe   the app may have run it
#   answer  the app answered with a status: it must be listed, and the app may have run it
MEANING = {
    "no_route": "never", "no_service": "never", "not_discovered": "never", "no_endpoints": "never",
    "no_healthy_upstream": "never",
    "upstream_connect_failed": "safe", "upstream_connect_timeout": "safe", "upstream_refused_stream": "safe",
    "not_delivered": "status", "upstream_connection_lost": "maybe", "upstream_reset": "maybe",
    "upstream_protocol_error": "maybe", "upstream_status": "answer", "deadline_exceeded": "never",
    "caller_reset": "never", "caller_gone": "never", "caller_protocol_error": "never", "draining": "safe",
    "drain_deadline": "never", "overloaded": "never", "idle_timeout": "never", "slow_body": "never",
    "stalled_reader": "never", "too_many_sessions": "never", "upstream_unreachable": "maybe",
    "upgrade_not_supported": "never", "queue_full": "never", "queue_timeout": "never", "limit_requests": "never",
    "limit_connections": "never", "limit_retries": "never", "rate_limited": "never", "held_back": "never",
    "per_try_timeout": "maybe", None: "answer",
}


def expected(meaning: str, reason: str | None, status: int, http: int, idempotent: bool, attempt: int, replayable: bool,
             committed: bool, inherited: int) -> bool:
    if (reason is None and status <= 0 and http < 400) or committed or attempt >= 3 or not replayable:
        return False
    if inherited:
        if attempt >= inherited:
            return False
        idempotent = False  # for somebody else to repeat
    listed = http in (429, 503) if http else status in (10, 14)
    return {"never": False, "safe": True, "status": listed or (not http and status < 0), "maybe": idempotent,
            "answer": listed and idempotent}[meaning]


def test_the_table_knows_every_reason():
    assert set(MEANING) == {*REASONS, None}


@pytest.mark.parametrize("code", MEANING)
def test_all_combinations(code: str | None):
    reason = REASONS[code] if code else None
    statuses = [*((grpc, 0) for grpc in (-1, 0, 1, 2, 8, 10, 13, 14, 16, 17, 999)),
                *((-1, http) for http in (200, 404, 429, 500, 503))]
    for (status, http), key, method, path, attempt, replayable, committed, inherited in itertools.product(
            statuses, [False, True], [b"POST", b"GET"], [b"/shop.Cart/Get", b"/shop.Cart/Set", b"/shop.Stock/Take"],
            [1, 2, 3, 4], [False, True], [False, True], [0, 1, 2, 10]):
        verdict = retry_reason(POLICY, reason=reason, grpc_status=status, method=method, path=path, idempotency_key=key,
                               attempt=attempt, replayable=replayable, committed=committed, http_status=http,
                               inherited=inherited)
        idempotent = key or method == b"GET" or path != b"/shop.Cart/Set"
        assert verdict.retry == expected(MEANING[code], code, status, http, idempotent, attempt, replayable, committed,
                                         inherited)
        assert verdict.why
        if not inherited:
            assert repeatable(POLICY, method, path, key).retry == idempotent


def why(reason: Reason | None, status: int = -1, *, method: bytes = b"POST",
        path: bytes = b"/shop.Cart/Set", key: bool = False, attempt: int = 1, replayable: bool = True,
        committed: bool = False, http: int = 0, inherited: int = 0) -> tuple[bool, str]:
    return tuple(retry_reason(POLICY, reason=reason, grpc_status=status, method=method, path=path, idempotency_key=key,
                              attempt=attempt, replayable=replayable, committed=committed, http_status=http,
                              inherited=inherited))


def test_every_verdict_says_why():
    assert why(None, 0) == (False, "no failure")
    assert why(None, -1) == (False, "no failure")
    assert why(errors.RESET, committed=True) == (False, "the response has begun")
    assert why(errors.RESET, attempt=3) == (False, "all attempts used")
    assert why(errors.CONNECT_FAILED, replayable=False) == (False, "the body exceeds replay_bytes")
    assert why(errors.CALLER_RESET) == (False, "the caller's doing")
    assert why(errors.DEADLINE) == (False, "the deadline passed")
    assert why(errors.DRAIN_DEADLINE) == (False, "the sidecar is shutting down")
    assert why(errors.NO_ENDPOINTS) == (False, "no endpoint to try")
    assert why(errors.OVERLOADED) == (False, "the sidecar is overloaded")
    assert why(None, 13, key=True) == (False, "the status is not in retry.codes")
    assert why(errors.NOT_DELIVERED, 8) == (False, "the status is not in retry.codes")
    assert why(None, 14) == (False, "the app may have run it, and it is not declared idempotent")
    assert why(errors.CONNECTION_LOST) == (False, "the app may have run it, and it is not declared idempotent")
    assert why(errors.CONNECT_FAILED) == (True, "not sent")
    assert why(errors.REFUSED_STREAM) == (True, "not sent")
    assert why(errors.NOT_DELIVERED, 14) == (True, "not delivered")
    assert why(errors.NOT_DELIVERED) == (True, "not delivered")
    assert why(None, 14, key=True) == (True, "idempotency-key")
    assert why(errors.UPSTREAM_STATUS, 10, path=b"/shop.Cart/Get") == (True, "idempotent method")
    assert why(errors.RESET, path=b"/shop.Stock/Take") == (True, "idempotent method")
    assert why(errors.PER_TRY_TIMEOUT, key=True) == (True, "idempotency-key")
    assert why(errors.UPSTREAM_STATUS, http=500, method=b"GET") == (False, "the status is not in retry.statuses")
    assert why(errors.UPSTREAM_STATUS, http=503, method=b"GET") == (True, "idempotent method")
    assert why(errors.RESET, method=b"GET", inherited=3) == \
        (False, "the app may have run it, and a caller further up repeats it")
    assert why(errors.CONNECT_FAILED, inherited=3) == (True, "not sent")
    assert why(errors.CONNECT_FAILED, inherited=1) == (False, "all attempts of the chain of calls used")


def test_what_was_not_delivered_is_repeated_whatever_the_http_statuses():
    policy = RetryPolicy(statuses=frozenset((429,)))
    for reason, status, want in [(errors.NOT_DELIVERED, 503, True), (errors.NOT_DELIVERED, 502, False),
                                 (errors.NOT_DELIVERED, 429, True), (errors.UPSTREAM_STATUS, 503, False)]:
        assert retry_reason(policy, reason=reason, grpc_status=-1, http_status=status, method=b"PATCH", path=b"/",
                            idempotency_key=False, attempt=1, replayable=True, committed=False).retry is want


def test_one_attempt_means_never():
    policy = RetryPolicy(max_attempts=1)
    assert not retry_reason(policy, reason=errors.CONNECT_FAILED, grpc_status=-1, method=b"POST", path=b"/",
                            idempotency_key=True, attempt=1, replayable=True, committed=False).retry


@pytest.mark.parametrize(("methods", "path", "yes"), [
    ((), b"/a", False),
    (("/a",), b"/a", True),
    (("/a",), b"/a/b", False),
    (("/a",), b"/A", False),
    (("/a",), b"/a?x=1", True),
    (("/a/*",), b"/a/", True),
    (("/a/*",), b"/a/b/c", True),
    (("/a/*",), b"/a", False),
    (("/a/*",), b"/x?/a/", False),
    (("/*",), b"/anything", True),
    (("/a", "/b/*", "/c"), b"/c", True),
    (("/a",), b"", False),
    (("/a",), b"*", False),
])
def test_is_idempotent(methods: tuple[str, ...], path: bytes, yes: bool):
    assert is_idempotent(methods, path) is yes


def test_status_names_are_those_of_grpc():
    assert len(STATUS_NAMES) == 17
    for name, number in [("CANCELLED", errors.CANCELLED), ("UNKNOWN", errors.UNKNOWN),
                         ("INVALID_ARGUMENT", errors.INVALID_ARGUMENT), ("DEADLINE_EXCEEDED", errors.DEADLINE_EXCEEDED),
                         ("NOT_FOUND", errors.NOT_FOUND), ("RESOURCE_EXHAUSTED", errors.RESOURCE_EXHAUSTED),
                         ("FAILED_PRECONDITION", errors.FAILED_PRECONDITION), ("UNIMPLEMENTED", errors.UNIMPLEMENTED),
                         ("INTERNAL", errors.INTERNAL), ("UNAVAILABLE", errors.UNAVAILABLE), ("UNAUTHENTICATED", 16)]:
        assert STATUS_NAMES[number] == name
    assert STATUS_NAMES[2:] == RETRYABLE_CODES
