"""Payment: one receipt per key, none without."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest

from mesh.demo import payment
from mesh.demo.v1 import shop_pb2


class Aborted(Exception):
    pass


class Call:
    """The part of a ServicerContext that the service uses."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(code, details)


def charge(service: payment.Payment, *metadata: tuple[str, str]) -> shop_pb2.ChargeResponse:
    return asyncio.run(service.Charge(shop_pb2.ChargeRequest(amount=500), cast(Any, Call(*metadata))))


def test_a_repeated_key_gets_its_first_receipt() -> None:
    service = payment.Payment("payment-2")
    first = charge(service, ("idempotency-key", "k1"))
    assert charge(service, ("idempotency-key", "k1")).receipt == first.receipt
    assert charge(service, ("idempotency-key", "k2")).receipt != first.receipt
    assert first.replica == "payment-2"


@pytest.mark.parametrize("metadata", [(), (("idempotency-key", ""),), (("other", "k"),)])
def test_without_a_key_nothing_is_charged(metadata: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Aborted, match="idempotency-key"):
        charge(payment.Payment("payment-0"), *metadata)


def test_only_so_many_keys_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payment, "REMEMBERED", 2)
    service = payment.Payment("payment-0")
    first = charge(service, ("idempotency-key", "k1"))
    charge(service, ("idempotency-key", "k2"))
    charge(service, ("idempotency-key", "k3"))
    assert charge(service, ("idempotency-key", "k1")).receipt != first.receipt
