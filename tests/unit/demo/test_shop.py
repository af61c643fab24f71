"""Who is in the shop and how each is started."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from mesh.demo.process import ProcessFailed
from mesh.demo.shop import MEMBERS, Member, app_command, environment, run_command, wait_until


def test_the_shop_is_the_one_of_the_documentation() -> None:
    assert [member.name for member in MEMBERS] == ["storefront-0", "cart-0", "cart-1", "cart-2", "payment-0",
                                                   "payment-1", "payment-2", "stock-0"]
    assert [member.weight for member in MEMBERS if member.service == "cart"] == [1, 3, 2]


def test_an_app_and_its_sidecar_come_from_one_command() -> None:
    member = Member("storefront", outbound=("cart", "stock/tcp"))
    argv = run_command(member, 50051, 7000, "127.0.0.1:15010", Path("/x"), ["app", "--flag"])
    assert argv[argv.index("--"):] == ["--", "app", "--flag"]
    flags = argv[:argv.index("--")]
    assert [flags[i + 1] for i, flag in enumerate(flags) if flag == "--outbound"] == ["cart=0", "stock=0/tcp"]
    assert flags[flags.index("--port") + 1] == "50051"
    assert flags[flags.index("--instance") + 1] == "storefront-0"


def test_stock_is_redis_where_there_is_one() -> None:
    stock = MEMBERS[-1]
    assert app_command(stock, 6379, "/usr/bin/redis-server")[0] == "/usr/bin/redis-server"
    assert app_command(stock, 6379, None)[:3] == [sys.executable, "-m", "mesh.demo.stock"]


def test_own_settings_stay_out() -> None:
    env = environment({"PATH": "/bin", "MESH_SERVICE": "mine", "OTEL_SDK_DISABLED": "true"}, "127.0.0.1:1")
    assert env["PATH"] == "/bin"
    assert "MESH_SERVICE" not in env
    assert "OTEL_SDK_DISABLED" not in env
    assert env["MESH_CONTROL_PLANE"] == "127.0.0.1:1"


def test_waiting_in_vain_says_for_what() -> None:
    async def never() -> bool:
        return False

    with pytest.raises(ProcessFailed, match=r"waited 0\.01 s in vain until the moon is green"):
        asyncio.run(wait_until("the moon is green", never, 0.01))
