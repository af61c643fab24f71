"""Host names to addresses.

What lives here: asking the system's resolver. What this must not know: who connects, and to which of them.
"""

from __future__ import annotations

import socket
from typing import Any

from mesh.dataplane.syscalls import packed


async def resolve(loop: Any, host: str, port: int) -> list[bytes]:
    """The addresses of a name. OSError, UnicodeError: there are none."""
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [packed(family, address) for family, _, _, _, address in found
            if family in (socket.AF_INET, socket.AF_INET6)]
