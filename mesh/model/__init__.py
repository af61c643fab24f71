"""Frozen, validated values that both programs share; see `values`, `balance` and `retry`."""

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
from mesh.model.limits import AdaptivePolicy, LimitsPolicy, RateLimit
from mesh.model.retry import RETRYABLE_CODES, HedgePolicy, RetryPolicy, TimeoutPolicy
from mesh.model.values import (
    MAX_PRIORITY,
    MAX_WEIGHT,
    SIDECAR_METADATA,
    Endpoint,
    Health,
    Locality,
    OutlierPolicy,
    Protocol,
    Service,
)

__all__ = ["MAX_PRIORITY", "MAX_WEIGHT", "RETRYABLE_CODES", "SIDECAR_METADATA", "AdaptivePolicy", "Algorithm",
           "BalancePolicy", "Endpoint", "HashKey", "HashPolicy", "Health", "HedgePolicy", "LatencyPolicy",
           "LimitsPolicy", "Locality", "LocalityPolicy", "OutlierPolicy", "Prefer", "Protocol", "RateLimit",
           "RetryPolicy", "Service", "SlowStartPolicy", "StickyPolicy", "SubsetPolicy", "TimeoutPolicy", "check_name"]
