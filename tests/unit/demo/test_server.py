"""One of the shop's servers as its own process would run it: serves until SIGTERM, then ends by itself."""

from __future__ import annotations

import os
import signal
import sys
import threading

import grpc
import pytest

from mesh.demo import cart, server
from mesh.demo.process import free_ports
from mesh.demo.v1 import shop_pb2


@pytest.mark.slow
def test_serves_until_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_ports(1)[0]
    monkeypatch.setattr(sys, "argv", ["cart", "--port", str(port), "--replica", "cart-7"])
    seen: list[str] = []

    def call() -> None:
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                get = channel.unary_unary("/mesh.demo.v1.CartService/GetCart",
                                          request_serializer=shop_pb2.GetCartRequest.SerializeToString,
                                          response_deserializer=shop_pb2.GetCartResponse.FromString)
                seen.append(get(shop_pb2.GetCartRequest(customer="ada"), timeout=20, wait_for_ready=True).replica)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    caller = threading.Thread(target=call)
    caller.start()
    server.run("cart", cart.add)
    caller.join()
    assert seen == ["cart-7"]


def test_a_port_is_required(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["cart"])
    with pytest.raises(SystemExit, match="2"):
        server.run("cart", cart.add)
    assert "--port" in capsys.readouterr().err
