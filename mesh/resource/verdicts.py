"""Messages of `proto/mesh/v1/health.proto` <-> values: what sidecars have against endpoints.

What lives here: both directions. What this must not know: who reports, who keeps it.
"""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from mesh.errors import InvalidResource
from mesh.model.health import Verdict, VerdictKind, check_resource
from mesh.v1 import health_pb2

Key = tuple[str, VerdictKind]

_KINDS = {health_pb2.Verdict.KIND_EJECTED: VerdictKind.EJECTED,
          health_pb2.Verdict.KIND_CHECK_FAILED: VerdictKind.CHECK_FAILED}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_YEAR_10000 = 253_402_300_800


def verdict_to_proto(verdict: Verdict) -> health_pb2.Verdict:
    """Return `verdict` as a message."""
    return health_pb2.Verdict(endpoint=verdict.endpoint, kind=_NUMBERS[verdict.kind], reason=verdict.reason,
                              since=_timestamp(verdict.since),
                              until=None if verdict.until is None else _timestamp(verdict.until))


def verdict_from_proto(message: health_pb2.Verdict) -> Verdict:
    """Return the value of `message`, or raise InvalidResource."""
    return Verdict(message.endpoint, _kind(message.kind), message.reason, _seconds("since", message.since),
                   _seconds("until", message.until) if message.HasField("until") else None)


def key_to_proto(key: Key) -> health_pb2.VerdictKey:
    return health_pb2.VerdictKey(endpoint=key[0], kind=_NUMBERS[key[1]])


def key_from_proto(message: health_pb2.VerdictKey) -> Key:
    """Return the value of `message`, or raise InvalidResource."""
    check_resource("endpoint", message.endpoint)
    return message.endpoint, _kind(message.kind)


def _kind(number: int) -> VerdictKind:
    for known, kind in _KINDS.items():
        if known == number:
            return kind
    raise InvalidResource("kind", f"{number} is none of 1..{max(_KINDS)}")


def _timestamp(seconds: float) -> Timestamp:
    whole = int(seconds)  # a float has not enough digits for all the nanoseconds
    return Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e9))


def _seconds(field: str, timestamp: Timestamp) -> float:
    if not 0 <= timestamp.seconds < _YEAR_10000 or not 0 <= timestamp.nanos < 1_000_000_000:
        raise InvalidResource(field, f"{timestamp.seconds} s and {timestamp.nanos} ns are no time from 1970 on")
    return timestamp.seconds + timestamp.nanos / 1e9
