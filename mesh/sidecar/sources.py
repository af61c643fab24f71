"""Whose PROXY protocol headers are believed.

What lives here: addresses and networks, and whether an address is in them. What this must not know: the header.
"""

from __future__ import annotations

from collections.abc import Callable

Trusted = Callable[[str], bool] | None


def check_network(text: str) -> str:
    """Return `text` if it is an IP address or a network (`10.0.0.0/8`); ValueError otherwise."""
    import ipaddress  # seldom needed, and not light

    ipaddress.ip_network(text)
    return text


def trusted_sources(networks: tuple[str, ...]) -> Trusted:
    """Return what tells whether a source address is in one of `networks`; None for no network at all."""
    if not networks:
        return None
    import ipaddress
    from functools import lru_cache

    parsed = [ipaddress.ip_network(network) for network in networks]

    @lru_cache(maxsize=1024)
    def trusted(host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in parsed)

    return trusted
