"""An address that can't be had is one line: the option, and the operating system's reason."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest
import uvloop

from mesh.dataplane.listener import Port
from mesh.errors import InvalidConfig
from mesh.sidecar.bind import bind, reason


@pytest.mark.parametrize(("error", "said"), [
    (OSError(errno.EADDRINUSE, "error while attempting to bind on address ('::1', 1): address already in use"),
     "address already in use"),
    (OSError(errno.EADDRNOTAVAIL, "error while attempting ..."), "cannot assign requested address"),
    (OSError(errno.EACCES, "Permission denied"), "permission denied"),
    (socket.gaierror(-2, "Name or service not known"), "name or service not known"),
    (OSError("could not bind"), "could not bind"),
    (UnicodeError("label empty or too long"), "not a host name"),
])
def test_the_reason_is_the_systems(error: OSError | UnicodeError, said: str) -> None:
    assert reason(error) == said


def test_a_port_is_bound_or_its_option_named() -> None:
    async def main() -> None:
        port = Port("127.0.0.1", 0, asyncio.Protocol)
        await bind(port, "--inbound 127.0.0.1:0")
        taken = Port(*port.address, asyncio.Protocol)
        with pytest.raises(InvalidConfig) as caught:
            await bind(taken, f"--inbound {taken}")
        assert str(caught.value) == f"--inbound {taken}: address already in use"
        port.close()

    uvloop.run(main())
