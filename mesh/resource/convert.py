"""Messages of `proto/mesh/v1` <-> values of mesh.model: the one conversion.

What lives here: both directions for Service and Endpoint. What this must not know: where a message came from, YAML.
`x_from_proto` puts the default where a field is absent and raises InvalidResource with the field's path
(`retry.max_attempts`); `x_to_proto` states every field, so that a message means the same to a reader with other
defaults. Going there and back gives an equal value (durations have nanosecond resolution).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration

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
from mesh.model.limits import ALL, COUNTS, AdaptivePolicy, LimitsPolicy, RateLimit
from mesh.model.retry import HedgePolicy, RetryPolicy, TimeoutPolicy
from mesh.model.values import Endpoint, Health, Locality, Protocol, Service
from mesh.v1 import endpoint_pb2, health_pb2, service_pb2

V = TypeVar("V")
_NANOS = 1_000_000_000

_PROTOCOLS = {service_pb2.PROTOCOL_TCP: Protocol.TCP, service_pb2.PROTOCOL_HTTP2: Protocol.HTTP2,
              service_pb2.PROTOCOL_GRPC: Protocol.GRPC, service_pb2.PROTOCOL_HTTP1: Protocol.HTTP1,
              service_pb2.PROTOCOL_AUTO: Protocol.AUTO, service_pb2.PROTOCOL_UDP: Protocol.UDP}
_ALGORITHMS = {service_pb2.Algorithm.Value(f"ALGORITHM_{algorithm.name}"): algorithm for algorithm in Algorithm}
_HASH_KEYS = {service_pb2.HashKey.Value(f"HASH_KEY_{key.name}"): key for key in HashKey}
_PREFERS = {service_pb2.Prefer.Value(f"PREFER_{prefer.name}"): prefer for prefer in Prefer}
_MODES = {service_pb2.CustomMode.Value(f"CUSTOM_MODE_{mode.name}"): mode for mode in CustomMode}
_HEALTHS = {endpoint_pb2.HEALTH_HEALTHY: Health.HEALTHY, endpoint_pb2.HEALTH_UNHEALTHY: Health.UNHEALTHY,
            endpoint_pb2.HEALTH_DRAINING: Health.DRAINING}
_PROTOCOL_NUMBERS = {value: number for number, value in _PROTOCOLS.items()}
_ALGORITHM_NUMBERS: dict[Algorithm, Any] = {value: number for number, value in _ALGORITHMS.items()}
_HASH_KEY_NUMBERS: dict[HashKey, Any] = {value: number for number, value in _HASH_KEYS.items()}
_PREFER_NUMBERS: dict[Prefer, Any] = {value: number for number, value in _PREFERS.items()}
_MODE_NUMBERS: dict[CustomMode, Any] = {value: number for number, value in _MODES.items()}
_HEALTH_NUMBERS = {value: number for number, value in _HEALTHS.items()}

_BALANCE, _RETRY, _TIMEOUT, _OUTLIER = BalancePolicy(), RetryPolicy(), TimeoutPolicy(), OutlierPolicy()
_LIMITS, _HEALTH = LimitsPolicy(), HealthPolicy()


def service_from_proto(message: service_pb2.Service) -> Service:
    """Return the value of `message`, or raise InvalidResource."""
    return Service(name=message.name,
                   protocol=protocol_from_proto(message.protocol),
                   balance=_under("balance", _balance, message.balance),
                   retry=_under("retry", _retry, message.retry),
                   timeout=_under("timeout", _timeout, message.timeout),
                   outlier=_under("outlier", _outlier, message.outlier),
                   health=_under("health", _health, message.health),
                   limits=_under("limits", _limits, message.limits))


def service_to_proto(service: Service) -> service_pb2.Service:
    """Return `service` as a message with every field set."""
    timeout = service.timeout
    return service_pb2.Service(
        name=service.name,
        protocol=_PROTOCOL_NUMBERS[service.protocol],
        balance=_balance_to_proto(service.balance),
        retry=_retry_to_proto(service.retry),
        timeout=service_pb2.TimeoutPolicy(
            connect=duration_to_proto(timeout.connect),
            request=duration_to_proto(timeout.request),
            idle=duration_to_proto(timeout.idle),
            udp_idle=duration_to_proto(timeout.udp_idle),
            per_try=duration_to_proto(timeout.per_try)),
        outlier=_outlier_to_proto(service.outlier),
        health=_health_to_proto(service.health),
        limits=_limits_to_proto(service.limits))


def endpoint_from_proto(message: endpoint_pb2.Endpoint) -> Endpoint:
    """Return the value of `message`, or raise InvalidResource."""
    return Endpoint(service=message.service,
                    name=message.name,
                    host=message.host,
                    port=message.port,
                    weight=message.weight if message.HasField("weight") else 1,
                    locality=_under("locality", _locality, message.locality),
                    health=_enum("health", message.health, _HEALTHS, Health.HEALTHY),
                    metadata=tuple(message.metadata.items()),
                    priority=message.priority)


def endpoint_to_proto(endpoint: Endpoint) -> endpoint_pb2.Endpoint:
    """Return `endpoint` as a message with every field set."""
    return endpoint_pb2.Endpoint(
        service=endpoint.service,
        name=endpoint.name,
        host=endpoint.host,
        port=endpoint.port,
        weight=endpoint.weight,
        locality=endpoint_pb2.Locality(region=endpoint.locality.region, zone=endpoint.locality.zone),
        health=_HEALTH_NUMBERS[endpoint.health],
        metadata=dict(endpoint.metadata),
        priority=endpoint.priority)


def protocol_from_proto(number: int, field: str = "protocol") -> Protocol:
    """Return the protocol of a field of that type; unspecified means gRPC."""
    return _enum(field, number, _PROTOCOLS, Protocol.GRPC)


def protocol_to_proto(protocol: Protocol) -> service_pb2.Protocol:
    """Return the number of `protocol`."""
    return _PROTOCOL_NUMBERS[protocol]


def duration_from_proto(field: str, duration: Duration) -> float:
    """Return seconds; raise InvalidResource where `duration` breaks the rules of its type."""
    seconds, nanos = duration.seconds, duration.nanos
    if not -_NANOS < nanos < _NANOS or seconds * nanos < 0 or not -315_576_000_000 <= seconds <= 315_576_000_000:
        raise InvalidResource(field, f"{seconds} s and {nanos} ns are no google.protobuf.Duration")
    return (seconds * _NANOS + nanos) / _NANOS


def duration_to_proto(seconds: float) -> Duration:
    """Return `seconds`, rounded to the nanosecond."""
    total = round(seconds * _NANOS)
    sign = 1 if total >= 0 else -1
    whole, nanos = divmod(abs(total), _NANOS)
    return Duration(seconds=sign * whole, nanos=sign * nanos)


def _balance(message: service_pb2.BalancePolicy) -> BalancePolicy:
    return BalancePolicy(
        algorithm=_enum("algorithm", message.algorithm, _ALGORITHMS, _BALANCE.algorithm),
        choices=_present(message, "choices", _BALANCE.choices),
        capacity=_present(message, "capacity", _BALANCE.capacity),
        latency=_under("latency", _latency, message.latency),
        hash=_under("hash", _hash, message.hash),
        sticky=_under("sticky", _sticky, message.sticky),
        subset=_under("subset", _subset, message.subset),
        locality=_under("locality", _prefer, message.locality),
        slow_start=_under("slow_start", _slow_start, message.slow_start),
        overprovisioning=_present(message, "overprovisioning", _BALANCE.overprovisioning),
        panic_threshold=_present(message, "panic_threshold", _BALANCE.panic_threshold),
        merge_window=_seconds(message, "merge_window", _BALANCE.merge_window),
        custom=_under("custom", _custom, message.custom))


def _latency(message: service_pb2.LatencyPolicy) -> LatencyPolicy:
    return LatencyPolicy(decay=_seconds(message, "decay", _BALANCE.latency.decay),
                         initial=_seconds(message, "initial", _BALANCE.latency.initial))


def _hash(message: service_pb2.HashPolicy) -> HashPolicy:
    default = _BALANCE.hash
    return HashPolicy(
        key=_enum("key", message.key, _HASH_KEYS, default.key),
        name=message.name,
        bounded_load=_present(message, "bounded_load", default.bounded_load),
        min_ring_size=_present(message, "min_ring_size", default.min_ring_size),
        max_ring_size=_present(message, "max_ring_size", default.max_ring_size),
        table_size=_present(message, "table_size", default.table_size))


def _sticky(message: service_pb2.StickyPolicy) -> StickyPolicy:
    return StickyPolicy(cookie=message.cookie, ttl=_seconds(message, "ttl", _BALANCE.sticky.ttl),
                        path=message.path or _BALANCE.sticky.path)


def _subset(message: service_pb2.SubsetPolicy) -> SubsetPolicy:
    return SubsetPolicy(match=tuple(message.match.items()), or_any=message.or_any,
                        size=_present(message, "size", _BALANCE.subset.size))


def _prefer(message: service_pb2.LocalityPolicy) -> LocalityPolicy:
    return LocalityPolicy(_enum("prefer", message.prefer, _PREFERS, _BALANCE.locality.prefer), tuple(message.failover))


def _slow_start(message: service_pb2.SlowStartPolicy) -> SlowStartPolicy:
    default = _BALANCE.slow_start
    return SlowStartPolicy(window=_seconds(message, "window", default.window),
                           aggression=_present(message, "aggression", default.aggression),
                           min_ratio=_present(message, "min_ratio", default.min_ratio))


def _custom(message: service_pb2.CustomPolicy) -> CustomPolicy:
    default = _BALANCE.custom
    return CustomPolicy(getattr(message, "class"), message.source, _enum("mode", message.mode, _MODES, default.mode),
                        _seconds(message, "time_limit", default.time_limit))


def _custom_to_proto(custom: CustomPolicy) -> service_pb2.CustomPolicy:
    message = service_pb2.CustomPolicy(source=custom.source, mode=_MODE_NUMBERS[custom.mode],
                                       time_limit=duration_to_proto(custom.time_limit))
    setattr(message, "class", custom.class_name)
    return message


def _balance_to_proto(balance: BalancePolicy) -> service_pb2.BalancePolicy:
    return service_pb2.BalancePolicy(
        algorithm=_ALGORITHM_NUMBERS[balance.algorithm],
        choices=balance.choices,
        capacity=balance.capacity,
        latency=service_pb2.LatencyPolicy(
            decay=duration_to_proto(balance.latency.decay),
            initial=duration_to_proto(balance.latency.initial)),
        hash=service_pb2.HashPolicy(
            key=_HASH_KEY_NUMBERS[balance.hash.key],
            name=balance.hash.name,
            bounded_load=balance.hash.bounded_load,
            min_ring_size=balance.hash.min_ring_size,
            max_ring_size=balance.hash.max_ring_size,
            table_size=balance.hash.table_size),
        sticky=service_pb2.StickyPolicy(
            cookie=balance.sticky.cookie,
            ttl=duration_to_proto(balance.sticky.ttl),
            path=balance.sticky.path),
        subset=service_pb2.SubsetPolicy(
            match=dict(balance.subset.match),
            or_any=balance.subset.or_any,
            size=balance.subset.size),
        locality=service_pb2.LocalityPolicy(
            prefer=_PREFER_NUMBERS[balance.locality.prefer],
            failover=balance.locality.failover),
        slow_start=service_pb2.SlowStartPolicy(
            window=duration_to_proto(balance.slow_start.window),
            aggression=balance.slow_start.aggression,
            min_ratio=balance.slow_start.min_ratio),
        overprovisioning=balance.overprovisioning,
        panic_threshold=balance.panic_threshold,
        merge_window=duration_to_proto(balance.merge_window),
        custom=_custom_to_proto(balance.custom))


def _retry(message: service_pb2.RetryPolicy) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=message.max_attempts or _RETRY.max_attempts,
        codes=frozenset(message.codes) or _RETRY.codes,
        idempotent_methods=tuple(message.idempotent_methods),
        budget_ratio=_present(message, "budget_ratio", _RETRY.budget_ratio),
        budget_min_per_second=_present(message, "budget_min_per_second", _RETRY.budget_min_per_second),
        budget_window=_seconds(message, "budget_window", _RETRY.budget_window),
        backoff_base=_seconds(message, "backoff_base", _RETRY.backoff_base),
        backoff_max=_seconds(message, "backoff_max", _RETRY.backoff_max),
        replay_bytes=_present(message, "replay_bytes", _RETRY.replay_bytes),
        statuses=frozenset(message.statuses) or _RETRY.statuses,
        max_pushback=_seconds(message, "max_pushback", _RETRY.max_pushback),
        hedge=_under("hedge", _hedge, message.hedge))


def _hedge(message: service_pb2.HedgePolicy) -> HedgePolicy:
    return HedgePolicy(percentile=_present(message, "percentile", _RETRY.hedge.percentile),
                       min_delay=_seconds(message, "min_delay", _RETRY.hedge.min_delay))


def _retry_to_proto(retry: RetryPolicy) -> service_pb2.RetryPolicy:
    return service_pb2.RetryPolicy(
        max_attempts=retry.max_attempts,
        codes=sorted(retry.codes),
        idempotent_methods=retry.idempotent_methods,
        budget_ratio=retry.budget_ratio,
        budget_min_per_second=retry.budget_min_per_second,
        budget_window=duration_to_proto(retry.budget_window),
        backoff_base=duration_to_proto(retry.backoff_base),
        backoff_max=duration_to_proto(retry.backoff_max),
        replay_bytes=retry.replay_bytes,
        statuses=sorted(retry.statuses),
        max_pushback=duration_to_proto(retry.max_pushback),
        hedge=service_pb2.HedgePolicy(percentile=retry.hedge.percentile,
                                      min_delay=duration_to_proto(retry.hedge.min_delay)))


def _timeout(message: service_pb2.TimeoutPolicy) -> TimeoutPolicy:
    return TimeoutPolicy(connect=_seconds(message, "connect", _TIMEOUT.connect),
                         request=_seconds(message, "request", _TIMEOUT.request),
                         idle=_seconds(message, "idle", _TIMEOUT.idle),
                         udp_idle=_seconds(message, "udp_idle", _TIMEOUT.udp_idle),
                         per_try=_seconds(message, "per_try", _TIMEOUT.per_try))


def _outlier(message: service_pb2.OutlierPolicy) -> OutlierPolicy:
    return OutlierPolicy(
        consecutive_failures=_present(message, "consecutive_failures", _OUTLIER.consecutive_failures),
        base_ejection_time=_seconds(message, "base_ejection_time", _OUTLIER.base_ejection_time),
        max_ejection_time=_seconds(message, "max_ejection_time", _OUTLIER.max_ejection_time),
        max_ejection_ratio=_present(message, "max_ejection_ratio", _OUTLIER.max_ejection_ratio),
        jitter=_present(message, "jitter", _OUTLIER.jitter),
        half_open=_present(message, "half_open", _OUTLIER.half_open),
        interval=_seconds(message, "interval", _OUTLIER.interval),
        success_rate=_under("success_rate", _success_rate, message.success_rate),
        failure_ratio=_under("failure_ratio", _failure_ratio, message.failure_ratio),
        latency=_under("latency", _latency_outlier, message.latency))


def _success_rate(message: health_pb2.SuccessRateOutlier) -> SuccessRateOutlier:
    default = _OUTLIER.success_rate
    return SuccessRateOutlier(_present(message, "deviations", default.deviations),
                              _present(message, "margin", default.margin),
                              _present(message, "min_endpoints", default.min_endpoints),
                              _present(message, "min_requests", default.min_requests))


def _failure_ratio(message: health_pb2.FailureRatioOutlier) -> FailureRatioOutlier:
    default = _OUTLIER.failure_ratio
    return FailureRatioOutlier(_present(message, "threshold", default.threshold),
                               _present(message, "min_endpoints", default.min_endpoints),
                               _present(message, "min_requests", default.min_requests))


def _latency_outlier(message: health_pb2.LatencyOutlier) -> LatencyOutlier:
    default = _OUTLIER.latency
    return LatencyOutlier(_present(message, "factor", default.factor), _seconds(message, "floor", default.floor),
                          _present(message, "min_endpoints", default.min_endpoints),
                          _present(message, "min_requests", default.min_requests))


def _outlier_to_proto(outlier: OutlierPolicy) -> service_pb2.OutlierPolicy:
    rate, failures, latency = outlier.success_rate, outlier.failure_ratio, outlier.latency
    return service_pb2.OutlierPolicy(
        consecutive_failures=outlier.consecutive_failures,
        base_ejection_time=duration_to_proto(outlier.base_ejection_time),
        max_ejection_time=duration_to_proto(outlier.max_ejection_time),
        max_ejection_ratio=outlier.max_ejection_ratio,
        jitter=outlier.jitter,
        half_open=outlier.half_open,
        interval=duration_to_proto(outlier.interval),
        success_rate=health_pb2.SuccessRateOutlier(deviations=rate.deviations, margin=rate.margin,
                                                   min_endpoints=rate.min_endpoints, min_requests=rate.min_requests),
        failure_ratio=health_pb2.FailureRatioOutlier(threshold=failures.threshold,
                                                     min_endpoints=failures.min_endpoints,
                                                     min_requests=failures.min_requests),
        latency=health_pb2.LatencyOutlier(factor=latency.factor, floor=duration_to_proto(latency.floor),
                                          min_endpoints=latency.min_endpoints, min_requests=latency.min_requests))


def _health(message: health_pb2.HealthPolicy) -> HealthPolicy:
    kind = message.WhichOneof("check")
    check = {} if kind is None else {kind: _under(kind, _CHECKS[kind], getattr(message, kind))}
    return HealthPolicy(
        **check,
        interval=_seconds(message, "interval", _HEALTH.interval),
        timeout=_seconds(message, "timeout", _HEALTH.timeout),
        rise=message.rise or _HEALTH.rise,
        fall=message.fall or _HEALTH.fall,
        jitter=_present(message, "jitter", _HEALTH.jitter),
        fast_interval=_seconds(message, "fast_interval", _HEALTH.fast_interval),
        port=message.port,
        uneject=_present(message, "uneject", _HEALTH.uneject))


def _http(message: health_pb2.HttpCheck) -> HttpCheck:
    default = HttpCheck()
    return HttpCheck(message.method or default.method, message.path or default.path, message.host,
                     tuple((statuses.first, statuses.last) for statuses in message.statuses) or default.statuses)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "tcp": lambda message: TcpCheck(),
    "http": _http,
    "grpc": lambda message: GrpcCheck(message.service),
    "mysql": lambda message: MysqlCheck(message.user),
    "postgres": lambda message: PostgresCheck(message.user),
    "redis": lambda message: RedisCheck(),
    "command": lambda message: CommandCheck(tuple(message.argv)),
}


def _health_to_proto(health: HealthPolicy) -> health_pb2.HealthPolicy:
    message = health_pb2.HealthPolicy(
        interval=duration_to_proto(health.interval), timeout=duration_to_proto(health.timeout), rise=health.rise,
        fall=health.fall, jitter=health.jitter, fast_interval=duration_to_proto(health.fast_interval),
        port=health.port, uneject=health.uneject)
    check = health.check
    match check:
        case TcpCheck():
            message.tcp.SetInParent()
        case RedisCheck():
            message.redis.SetInParent()
        case HttpCheck():
            message.http.CopyFrom(health_pb2.HttpCheck(
                method=check.method, path=check.path, host=check.host,
                statuses=[health_pb2.StatusRange(first=first, last=last) for first, last in check.statuses]))
        case GrpcCheck():
            message.grpc.CopyFrom(health_pb2.GrpcCheck(service=check.service))
        case MysqlCheck():
            message.mysql.CopyFrom(health_pb2.MysqlCheck(user=check.user))
        case PostgresCheck():
            message.postgres.CopyFrom(health_pb2.PostgresCheck(user=check.user))
        case CommandCheck():
            message.command.CopyFrom(health_pb2.CommandCheck(argv=check.argv))
    return message


def _limits(message: service_pb2.LimitsPolicy) -> LimitsPolicy:
    counts = {name: _present(message, name, getattr(_LIMITS, name)) for name in COUNTS}
    return LimitsPolicy(**counts,
                        queue_timeout=_seconds(message, "queue_timeout", _LIMITS.queue_timeout),
                        adaptive=_under("adaptive", _adaptive, message.adaptive),
                        rate_limits=tuple(_under(f"rate_limits[{index}]", _rate_limit, each)
                                          for index, each in enumerate(message.rate_limits)))


def _adaptive(message: service_pb2.AdaptivePolicy) -> AdaptivePolicy:
    default = _LIMITS.adaptive
    return AdaptivePolicy(
        enabled=message.enabled,
        min_limit=_present(message, "min_limit", default.min_limit),
        max_limit=_present(message, "max_limit", default.max_limit),
        percentile_ratio=_present(message, "percentile_ratio", default.percentile_ratio),
        update_interval=_seconds(message, "update_interval", default.update_interval),
        rtt_interval=_seconds(message, "rtt_interval", default.rtt_interval),
        rtt_samples=_present(message, "rtt_samples", default.rtt_samples),
        jitter_ratio=_present(message, "jitter_ratio", default.jitter_ratio),
        buffer_ratio=_present(message, "buffer_ratio", default.buffer_ratio))


def _rate_limit(message: service_pb2.RateLimit) -> RateLimit:
    return RateLimit(message.rate, message.burst, message.key or ALL,
                     message.max_keys if message.HasField("max_keys") else 10_000)


def _limits_to_proto(limits: LimitsPolicy) -> service_pb2.LimitsPolicy:
    adaptive = limits.adaptive
    return service_pb2.LimitsPolicy(
        **{name: getattr(limits, name) for name in COUNTS},
        queue_timeout=duration_to_proto(limits.queue_timeout),
        adaptive=service_pb2.AdaptivePolicy(
            enabled=adaptive.enabled,
            min_limit=adaptive.min_limit,
            max_limit=adaptive.max_limit,
            percentile_ratio=adaptive.percentile_ratio,
            update_interval=duration_to_proto(adaptive.update_interval),
            rtt_interval=duration_to_proto(adaptive.rtt_interval),
            rtt_samples=adaptive.rtt_samples,
            jitter_ratio=adaptive.jitter_ratio,
            buffer_ratio=adaptive.buffer_ratio),
        rate_limits=[service_pb2.RateLimit(rate=each.rate, burst=each.burst, key=each.key, max_keys=each.max_keys)
                     for each in limits.rate_limits])


def _locality(message: endpoint_pb2.Locality) -> Locality:
    return Locality(message.region, message.zone)


def _under(field: str, read: Callable[[Any], V], message: Any) -> V:
    try:
        return read(message)
    except InvalidResource as error:
        raise error.under(field) from None


def _enum(field: str, number: int, values: dict[Any, V], default: V) -> V:
    if number == 0:
        return default
    value = values.get(number)
    if value is None:
        raise InvalidResource(field, f"{number} is none of 0..{max(values)}")
    return value


def _present(message: Any, field: str, default: V) -> V:
    if not message.HasField(field):
        return default
    value: V = getattr(message, field)
    return value


def _seconds(message: Any, field: str, default: float) -> float:
    return duration_from_proto(field, getattr(message, field)) if message.HasField(field) else default
