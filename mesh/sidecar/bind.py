"""Binding a port that an option asks for, with one line that names the option when it can't be had.

What lives here: the operating system's reason in an operator's words. What this must not know: what the port is for.
"""

from __future__ import annotations

import os

from mesh.dataplane.listener import Port
from mesh.errors import InvalidConfig


async def bind(port: Port, place: str) -> None:
    """Start `port`; InvalidConfig begins with `place` (`--inbound 127.0.0.1:7000`) when its address can't be had."""
    try:
        await port.start()
    except (OSError, UnicodeError) as error:
        raise InvalidConfig(f"{place}: {reason(error)}") from None


def reason(error: OSError | UnicodeError) -> str:
    """Return why, without the address that asyncio adds: `address already in use`.

    UnicodeError is what a host name with an empty or an overlong label ends in.
    """
    if isinstance(error, UnicodeError):
        return "not a host name"
    # getaddrinfo's own numbers are negative.
    text = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    return text[:1].lower() + text[1:]
