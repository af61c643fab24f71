"""Names to addresses, by the system's resolver."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from mesh.dataplane import loop
from mesh.dataplane.resolve import resolve
from mesh.dataplane.syscalls import host_of, port_of


def test_every_address_of_a_name_in_the_resolvers_order() -> None:
    class Resolver:
        async def getaddrinfo(self, host: str, port: int, *, type: int) -> list[Any]:
            assert (host, type) == ("shop", socket.SOCK_STREAM)
            return [(socket.AF_INET6, type, 6, "", ("::2", port, 0, 0)), (socket.AF_UNIX, type, 0, "", "/x"),
                    (socket.AF_INET, type, 6, "", ("127.0.0.2", port))]

    found = asyncio.run(resolve(Resolver(), "shop", 81))
    assert [(host_of(each), port_of(each)) for each in found] == [("::2", 81), ("127.0.0.2", 81)]


def test_localhost_is_here_and_a_name_that_cannot_be_is_nowhere() -> None:
    async def main() -> None:
        here = asyncio.get_running_loop()
        assert {host_of(each) for each in await resolve(here, "localhost", 80)} <= {"127.0.0.1", "::1"}
        with pytest.raises((OSError, UnicodeError)):
            await resolve(here, "no..name", 80)

    loop.run(main())
