"""Frozen, validated values that both programs share; see `values`."""

from mesh.model.values import (
    MAX_WEIGHT,
    RETRYABLE_CODES,
    Algorithm,
    BalancePolicy,
    Endpoint,
    Health,
    Locality,
    OutlierPolicy,
    Protocol,
    RetryPolicy,
    Service,
    TimeoutPolicy,
    check_name,
)

__all__ = ["MAX_WEIGHT", "RETRYABLE_CODES", "Algorithm", "BalancePolicy", "Endpoint", "Health", "Locality",
           "OutlierPolicy", "Protocol", "RetryPolicy", "Service", "TimeoutPolicy", "check_name"]
