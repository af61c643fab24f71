"""Plain dicts, as they stand in YAML, JSON and TOML, <-> values of mesh.model.

What lives here: both directions, and what a document looks like. What this must not know: files, line numbers,
protobuf.

A document is a mapping of one of two forms:
- one resource: `kind: Service` or `kind: Endpoint`, and its fields beside it;
- several: `services:` and `endpoints:`, each a list of mappings with the fields of one resource.

The fields are those of `proto/mesh/v1`, by those names; one left out, or null, means its default. Enum values are
written short (`grpc`, `power_of_two`) or as in the .proto (`PROTOCOL_GRPC`), in either case; durations as `250ms`,
`1.5s`, `2m`, `1h` or a number of seconds. Anything else is refused: InvalidResource with the path,
`services[0].retry.max_attempts`.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from mesh.errors import InvalidResource
from mesh.model.balance import (
    Algorithm,
    BalancePolicy,
    HashKey,
    HashPolicy,
    LatencyPolicy,
    LocalityPolicy,
    Prefer,
    SlowStartPolicy,
    StickyPolicy,
    SubsetPolicy,
)
from mesh.model.custom import CustomMode, CustomPolicy
from mesh.model.health import (
    CheckKind,
    CommandCheck,
    FailureRatioOutlier,
    GrpcCheck,
    HealthPolicy,
    HttpCheck,
    LatencyOutlier,
    MysqlCheck,
    OutlierPolicy,
    PostgresCheck,
    RedisCheck,
    SuccessRateOutlier,
    TcpCheck,
)
from mesh.model.limits import COUNTS, AdaptivePolicy, LimitsPolicy, RateLimit
from mesh.model.retry import HedgePolicy, RetryPolicy, TimeoutPolicy
from mesh.model.values import Endpoint, Health, Locality, Protocol, Service

Resource = Service | Endpoint
_Read = Callable[[Any, str], Any]

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|s|m|h)")
_BALANCE, _OUTLIER = BalancePolicy(), OutlierPolicy()
_STATUSES = re.compile(r"([0-9]{3})(?:-([0-9]{3}))?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def from_document(document: object) -> list[tuple[str, Resource]]:
    """Return the resources of one document in its order, each with its path in it ("" for a document that is one)."""
    if not isinstance(document, Mapping):
        raise InvalidResource("", f"expected a mapping with `kind`, or with `services` and `endpoints`, "
                                  f"not {_seen(document)}")
    if "kind" in document:
        kind = document["kind"]
        if kind not in ("Service", "Endpoint"):
            raise InvalidResource("kind", f"{_seen(kind)} is neither Service nor Endpoint")
        fields = {key: value for key, value in document.items() if key != "kind"}
        return [("", service_from_document(fields) if kind == "Service" else endpoint_from_document(fields))]
    _refuse_unknown(document, ("services", "endpoints", "kind"), "")
    found: list[tuple[str, Resource]] = []
    for index, entry in enumerate(_list(document.get("services"), "services")):
        path = f"services[{index}]"
        found.append((path, service_from_document(entry, path)))
    for index, entry in enumerate(_list(document.get("endpoints"), "endpoints")):
        path = f"endpoints[{index}]"
        found.append((path, endpoint_from_document(entry, path)))
    return found


def service_from_document(fields: object, path: str = "") -> Service:
    """Return the Service with these fields; `path` is where they stand, for errors."""
    service: Service = _build(Service, _SERVICE, ("name",), fields, path)
    return service


def endpoint_from_document(fields: object, path: str = "") -> Endpoint:
    """Return the Endpoint with these fields; `path` is where they stand, for errors."""
    endpoint: Endpoint = _build(Endpoint, _ENDPOINT, ("service", "name", "host", "port"), fields, path)
    return endpoint


def service_to_document(service: Service) -> dict[str, Any]:
    """Return all fields of `service`; service_from_document gives it back."""
    retry, timeout = service.retry, service.timeout
    return {
        "name": service.name,
        "protocol": service.protocol.value,
        "balance": _balance_to_document(service.balance),
        "retry": {
            "max_attempts": retry.max_attempts,
            "codes": sorted(retry.codes),
            "idempotent_methods": list(retry.idempotent_methods),
            "budget_ratio": retry.budget_ratio,
            "budget_min_per_second": retry.budget_min_per_second,
            "budget_window": format_duration(retry.budget_window),
            "backoff_base": format_duration(retry.backoff_base),
            "backoff_max": format_duration(retry.backoff_max),
            "replay_bytes": retry.replay_bytes,
            "statuses": sorted(retry.statuses),
            "max_pushback": format_duration(retry.max_pushback),
            "hedge": {"percentile": retry.hedge.percentile, "min_delay": format_duration(retry.hedge.min_delay)},
        },
        "timeout": {
            "connect": format_duration(timeout.connect),
            "request": format_duration(timeout.request),
            "idle": format_duration(timeout.idle),
            "udp_idle": format_duration(timeout.udp_idle),
            "per_try": format_duration(timeout.per_try),
        },
        "outlier": _outlier_to_document(service.outlier),
        **_health_to_document(service.health),
        "limits": _limits_to_document(service.limits),
    }


def _limits_to_document(limits: LimitsPolicy) -> dict[str, Any]:
    adaptive = limits.adaptive
    return {
        **{name: getattr(limits, name) for name in COUNTS},
        "queue_timeout": format_duration(limits.queue_timeout),
        "adaptive": dataclasses.asdict(adaptive) | {"update_interval": format_duration(adaptive.update_interval),
                                                    "rtt_interval": format_duration(adaptive.rtt_interval)},
        "rate_limits": [dataclasses.asdict(each) for each in limits.rate_limits],
    }


def _balance_to_document(balance: BalancePolicy) -> dict[str, Any]:
    """Only what differs from the default: most of it belongs to other algorithms."""
    latency, hashing, sticky, slow_start = balance.latency, balance.hash, balance.sticky, balance.slow_start
    document: dict[str, Any] = {"algorithm": balance.algorithm.value}
    parts = {
        "choices": balance.choices,
        "capacity": balance.capacity,
        "latency": {"decay": format_duration(latency.decay), "initial": format_duration(latency.initial)},
        "hash": {"key": hashing.key.value, "name": hashing.name, "bounded_load": hashing.bounded_load,
                 "min_ring_size": hashing.min_ring_size, "max_ring_size": hashing.max_ring_size,
                 "table_size": hashing.table_size},
        "sticky": {"cookie": sticky.cookie, "ttl": format_duration(sticky.ttl), "path": sticky.path},
        "subset": {"match": dict(balance.subset.match), "or_any": balance.subset.or_any, "size": balance.subset.size},
        "locality": {"prefer": balance.locality.prefer.value, "failover": list(balance.locality.failover)},
        "slow_start": {"window": format_duration(slow_start.window), "aggression": slow_start.aggression,
                       "min_ratio": slow_start.min_ratio},
        "overprovisioning": balance.overprovisioning,
        "panic_threshold": balance.panic_threshold,
        "merge_window": format_duration(balance.merge_window),
        "custom": {"class": balance.custom.class_name, "source": balance.custom.source,
                   "mode": balance.custom.mode.value, "time_limit": format_duration(balance.custom.time_limit)},
    }
    given = {part: getattr(balance, part) for part in parts}
    return document | {part: parts[part] for part, value in given.items() if value != getattr(_BALANCE, part)}


def _outlier_to_document(outlier: OutlierPolicy) -> dict[str, Any]:
    """The three that compare endpoints only where they differ from the default."""
    rate, failures, latency = outlier.success_rate, outlier.failure_ratio, outlier.latency
    document: dict[str, Any] = {
        "consecutive_failures": outlier.consecutive_failures,
        "base_ejection_time": format_duration(outlier.base_ejection_time),
        "max_ejection_time": format_duration(outlier.max_ejection_time),
        "max_ejection_ratio": outlier.max_ejection_ratio,
        "jitter": outlier.jitter,
        "half_open": outlier.half_open,
        "interval": format_duration(outlier.interval),
    }
    if rate != _OUTLIER.success_rate:
        document["success_rate"] = {"deviations": rate.deviations, "margin": rate.margin,
                                    "min_endpoints": rate.min_endpoints, "min_requests": rate.min_requests}
    if failures != _OUTLIER.failure_ratio:
        document["failure_ratio"] = {"threshold": failures.threshold, "min_endpoints": failures.min_endpoints,
                                     "min_requests": failures.min_requests}
    if latency != _OUTLIER.latency:
        document["latency"] = {"factor": latency.factor, "floor": format_duration(latency.floor),
                               "min_endpoints": latency.min_endpoints, "min_requests": latency.min_requests}
    return document


def _health_to_document(health: HealthPolicy) -> dict[str, Any]:
    """Nothing where nothing is said."""
    if health == HealthPolicy():
        return {}
    check = health.check
    fields: dict[str, Any] = {}
    match check:
        case HttpCheck():
            fields = {"method": check.method, "path": check.path, "host": check.host,
                      "statuses": [first if first == last else f"{first}-{last}" for first, last in check.statuses]}
        case GrpcCheck():
            fields = {"service": check.service}
        case MysqlCheck() | PostgresCheck():
            fields = {"user": check.user}
        case CommandCheck():
            fields = {"argv": list(check.argv)}
    document: dict[str, Any] = {} if check is None else {health.kind.value: fields}
    return {"health": document | {
        "interval": format_duration(health.interval), "timeout": format_duration(health.timeout),
        "rise": health.rise, "fall": health.fall, "jitter": health.jitter,
        "fast_interval": format_duration(health.fast_interval), "port": health.port, "uneject": health.uneject}}


def endpoint_to_document(endpoint: Endpoint) -> dict[str, Any]:
    """Return all fields of `endpoint`; endpoint_from_document gives it back."""
    return {
        "service": endpoint.service,
        "name": endpoint.name,
        "host": endpoint.host,
        "port": endpoint.port,
        "weight": endpoint.weight,
        "locality": {"region": endpoint.locality.region, "zone": endpoint.locality.zone},
        "health": endpoint.health.value,
        "metadata": dict(endpoint.metadata),
        "priority": endpoint.priority,
    }


def parse_duration(value: object, path: str) -> float:
    """Return the seconds that `value` means: `250ms`, `1.5s`, `2m`, `1h`, or a number of seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number(value, path)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise InvalidResource(path, f"{_seen(value)} is no duration: 250ms, 1.5s, 2m, 1h or a number of seconds")
    return round(float(match[1]) * _UNITS[match[2]], 9)


def format_duration(seconds: float) -> str:
    """Return `seconds` (0 and more) in proto3's JSON form, `0.25s`, to the nanosecond."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _build(cls: Callable[..., Any], fields: dict[str, _Read], required: tuple[str, ...], value: object,
           path: str) -> Any:
    if not isinstance(value, Mapping):
        raise InvalidResource(path, f"expected a mapping, not {_seen(value)}")
    _refuse_unknown(value, fields, path)
    for name in required:
        if value.get(name) is None:
            raise InvalidResource(_join(path, name), "is missing")
    read = {name: fields[name](given, _join(path, name)) for name, given in value.items() if given is not None}
    try:
        return cls(**read)
    except InvalidResource as error:
        raise (error.under(path) if path else error) from None


def _refuse_unknown(value: Mapping[Any, Any], known: Any, path: str) -> None:
    for name in value:
        if name not in known:
            # maxAttempts and max-attempts are near enough to max_attempts
            plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(name)).replace("-", "_").lower()
            near = difflib.get_close_matches(plain, known, 1, 0.6)
            # Quoted, where a message would otherwise hold a line end or what a terminal obeys.
            place = _join(path, str(name)) if str(name).isprintable() else f"{path}[{name!r}]"
            raise InvalidResource(place, "unknown field; " + (
                f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _seen(value: object) -> str:
    """What a message shows of a value that doesn't fit."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if _is_huge(value):
        return "a number of too many digits"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_huge(value: object) -> bool:
    """Whether `value` is an integer of more than 64 bits; Python refuses to print the largest of them."""
    return isinstance(value, int) and value.bit_length() > 64


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        quote = "; put it in quotes" if isinstance(value, (bool, int, float)) else ""
        raise InvalidResource(path, f"expected text, not {_seen(value)}{quote}")
    return value


def _flag(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidResource(path, f"expected true or false, not {_seen(value)}")
    return value


def _whole(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or _is_huge(value):
        raise InvalidResource(path, f"expected a whole number, not {_seen(value)}")
    return value


def _number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or _is_huge(value):
        raise InvalidResource(path, f"expected a number, not {_seen(value)}")
    return float(value)


def _list(value: object, path: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidResource(path, f"expected a list, not {_seen(value)}")
    return value


def _texts(value: object, path: str) -> tuple[str, ...]:
    return tuple(_text(entry, f"{path}[{index}]") for index, entry in enumerate(_list(value, path)))


def _codes(value: object, path: str) -> frozenset[str]:
    return frozenset(_texts(value, path))


def _statuses(value: object, path: str) -> frozenset[int]:
    return frozenset(_whole(entry, f"{path}[{index}]") for index, entry in enumerate(_list(value, path)))


def _ranges(value: object, path: str) -> tuple[tuple[int, int], ...]:
    """A list of `200`, `200-299`."""
    ranges: list[tuple[int, int]] = []
    for index, entry in enumerate(_list(value, path)):
        whole = type(entry) is int and not _is_huge(entry)
        match = _STATUSES.fullmatch(str(entry)) if whole or isinstance(entry, str) else None
        if match is None:
            raise InvalidResource(f"{path}[{index}]", f"{_seen(entry)} is neither a status (204) nor a range "
                                                      "of them (200-299)")
        ranges.append((int(match[1]), int(match[2] or match[1])))
    return tuple(ranges)


def _metadata(value: object, path: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise InvalidResource(path, f"expected a mapping, not {_seen(value)}")
    return tuple((_text(key, f"{path}[{key!r}]"), _text(given, f"{path}[{key!r}]")) for key, given in value.items())


def _one_of(values: type[Enum], prefix: str) -> _Read:
    def read(value: object, path: str) -> Enum:
        text = _text(value, path).lower().removeprefix(prefix)
        for member in values:
            if member.value == text:
                return member
        raise InvalidResource(path, f"{value!r} is none of {', '.join(member.value for member in values)}")

    return read


def _custom_policy(**fields: Any) -> CustomPolicy:
    """`class` is no name that Python allows a field."""
    if "class" in fields:
        fields["class_name"] = fields.pop("class")
    return CustomPolicy(**fields)


def _message(cls: Callable[..., Any], fields: dict[str, _Read]) -> _Read:
    return lambda value, path: _build(cls, fields, (), value, path)


def _messages(cls: Callable[..., Any], fields: dict[str, _Read], required: tuple[str, ...]) -> _Read:
    return lambda value, path: tuple(_build(cls, fields, required, entry, f"{path}[{index}]")
                                     for index, entry in enumerate(_list(value, path)))


def _one_check(read: _Read) -> _Read:
    """`redis:` with nothing behind it names the check all the same; elsewhere null is "not given"."""
    kinds = {kind.value for kind in CheckKind}

    def read_all(value: object, path: str) -> Any:
        if isinstance(value, Mapping):
            value = {name: {} if given is None and name in kinds else given for name, given in value.items()}
        return read(value, path)

    return read_all


_SERVICE: dict[str, _Read] = {
    "name": _text,
    "protocol": _one_of(Protocol, "protocol_"),
    "balance": _message(BalancePolicy, {
        "algorithm": _one_of(Algorithm, "algorithm_"),
        "choices": _whole,
        "capacity": _whole,
        "latency": _message(LatencyPolicy, {"decay": parse_duration, "initial": parse_duration}),
        "hash": _message(HashPolicy, {
            "key": _one_of(HashKey, "hash_key_"),
            "name": _text,
            "bounded_load": _number,
            "min_ring_size": _whole,
            "max_ring_size": _whole,
            "table_size": _whole,
        }),
        "sticky": _message(StickyPolicy, {"cookie": _text, "ttl": parse_duration, "path": _text}),
        "subset": _message(SubsetPolicy, {"match": _metadata, "or_any": _flag, "size": _whole}),
        "locality": _message(LocalityPolicy, {"prefer": _one_of(Prefer, "prefer_"), "failover": _texts}),
        "slow_start": _message(SlowStartPolicy, {
            "window": parse_duration, "aggression": _number, "min_ratio": _number,
        }),
        "overprovisioning": _number,
        "panic_threshold": _number,
        "merge_window": parse_duration,
        "custom": _message(_custom_policy, {
            "class": _text, "source": _text, "mode": _one_of(CustomMode, "custom_mode_"), "time_limit": parse_duration,
        }),
    }),
    "retry": _message(RetryPolicy, {
        "max_attempts": _whole,
        "codes": _codes,
        "idempotent_methods": _texts,
        "budget_ratio": _number,
        "budget_min_per_second": _number,
        "budget_window": parse_duration,
        "backoff_base": parse_duration,
        "backoff_max": parse_duration,
        "replay_bytes": _whole,
        "statuses": _statuses,
        "max_pushback": parse_duration,
        "hedge": _message(HedgePolicy, {"percentile": _number, "min_delay": parse_duration}),
    }),
    "timeout": _message(TimeoutPolicy, {
        "connect": parse_duration, "request": parse_duration, "idle": parse_duration, "udp_idle": parse_duration,
        "per_try": parse_duration,
    }),
    "outlier": _message(OutlierPolicy, {
        "consecutive_failures": _whole,
        "base_ejection_time": parse_duration,
        "max_ejection_time": parse_duration,
        "max_ejection_ratio": _number,
        "jitter": _number,
        "half_open": _flag,
        "interval": parse_duration,
        "success_rate": _message(SuccessRateOutlier, {
            "deviations": _number, "margin": _number, "min_endpoints": _whole, "min_requests": _whole,
        }),
        "failure_ratio": _message(FailureRatioOutlier, {
            "threshold": _number, "min_endpoints": _whole, "min_requests": _whole,
        }),
        "latency": _message(LatencyOutlier, {
            "factor": _number, "floor": parse_duration, "min_endpoints": _whole, "min_requests": _whole,
        }),
    }),
    "health": _one_check(_message(HealthPolicy, {
        "tcp": _message(TcpCheck, {}),
        "http": _message(HttpCheck, {"method": _text, "path": _text, "host": _text, "statuses": _ranges}),
        "grpc": _message(GrpcCheck, {"service": _text}),
        "mysql": _message(MysqlCheck, {"user": _text}),
        "postgres": _message(PostgresCheck, {"user": _text}),
        "redis": _message(RedisCheck, {}),
        "command": _message(CommandCheck, {"argv": _texts}),
        "interval": parse_duration,
        "timeout": parse_duration,
        "rise": _whole,
        "fall": _whole,
        "jitter": _number,
        "fast_interval": parse_duration,
        "port": _whole,
        "uneject": _flag,
    })),
    "limits": _message(LimitsPolicy, {
        **dict.fromkeys(COUNTS, _whole),
        "queue_timeout": parse_duration,
        "adaptive": _message(AdaptivePolicy, {
            "enabled": _flag, "min_limit": _whole, "max_limit": _whole, "percentile_ratio": _number,
            "update_interval": parse_duration, "rtt_interval": parse_duration, "rtt_samples": _whole,
            "jitter_ratio": _number, "buffer_ratio": _number,
        }),
        "rate_limits": _messages(RateLimit, {"rate": _number, "burst": _whole, "key": _text, "max_keys": _whole},
                                 ("rate",)),
    }),
}
_ENDPOINT: dict[str, _Read] = {
    "service": _text,
    "name": _text,
    "host": _text,
    "port": _whole,
    "weight": _whole,
    "locality": _message(Locality, {"region": _text, "zone": _text}),
    "health": _one_of(Health, "health_"),
    "metadata": _metadata,
    "priority": _whole,
}
