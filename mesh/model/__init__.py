"""Frozen, validated values that both programs share; see `values`, `balance`, `retry` and `health`."""

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
from mesh.model.checks import check_name
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
    Verdict,
    VerdictKind,
)
from mesh.model.limits import AdaptivePolicy, LimitsPolicy, RateLimit
from mesh.model.retry import RETRYABLE_CODES, HedgePolicy, RetryPolicy, TimeoutPolicy
from mesh.model.values import (
    MAX_PRIORITY,
    MAX_WEIGHT,
    SIDECAR_METADATA,
    Endpoint,
    Health,
    Locality,
    Protocol,
    Service,
)

__all__ = ["MAX_PRIORITY", "MAX_WEIGHT", "RETRYABLE_CODES", "SIDECAR_METADATA", "AdaptivePolicy", "Algorithm",
           "BalancePolicy", "CheckKind", "CommandCheck", "Endpoint", "FailureRatioOutlier", "GrpcCheck", "HashKey",
           "HashPolicy", "Health", "HealthPolicy", "HedgePolicy", "HttpCheck", "LatencyOutlier", "LatencyPolicy",
           "LimitsPolicy", "Locality", "LocalityPolicy", "MysqlCheck", "OutlierPolicy", "PostgresCheck", "Prefer",
           "Protocol", "RateLimit", "RedisCheck", "RetryPolicy", "Service", "SlowStartPolicy", "StickyPolicy",
           "SubsetPolicy", "SuccessRateOutlier", "TcpCheck", "TimeoutPolicy", "Verdict", "VerdictKind", "check_name"]
