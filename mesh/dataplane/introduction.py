"""Who a relayed connection comes from, told to the endpoint in a PROXY protocol header.

What lives here: the header for one accepted connection. What this must not know: who wants to be told, endpoints.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from mesh.wire.proxy_protocol import ProxyAddress, encode_v1, encode_v2

Introduction = Callable[[int, str], bytes] | None


def introduction(version: str) -> Introduction:
    """Return what makes the header of `version` (`v1`, `v2`) from an accepted descriptor and its source address.

    None for the empty version: nobody is introduced. Where the addresses can't be told, the header says so.
    """
    encode = {"v1": encode_v1, "v2": encode_v2}[version] if version else None
    if encode is None:
        return None

    def header(fd: int, source: str) -> bytes:
        sock = socket.socket(fileno=fd)
        try:
            peer, here = sock.getpeername(), sock.getsockname()
            return bytes(encode(ProxyAddress(source, peer[1]), ProxyAddress(here[0], here[1])))
        except (OSError, ValueError, TypeError, IndexError):
            return bytes(encode(None, None))
        finally:
            sock.detach()

    return header
