"""Frozen, validated values that both programs share; see `values` and `balance`."""

from mesh.model.balance import Algorithm, BalancePolicy, HashKey, HashPolicy, LatencyPolicy, StickyPolicy
from mesh.model.checks import check_name
from mesh.model.values import (
    MAX_WEIGHT,
    RETRYABLE_CODES,
    SIDECAR_METADATA,
    Endpoint,
    Health,
    Locality,
    OutlierPolicy,
    Protocol,
    RetryPolicy,
    Service,
    TimeoutPolicy,
)

__all__ = ["MAX_WEIGHT", "RETRYABLE_CODES", "SIDECAR_METADATA", "Algorithm", "BalancePolicy", "Endpoint", "HashKey",
           "HashPolicy", "Health", "LatencyPolicy", "Locality", "OutlierPolicy", "Protocol", "RetryPolicy", "Service",
           "StickyPolicy", "TimeoutPolicy", "check_name"]
