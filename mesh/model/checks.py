"""Checks that the values share: each refuses with InvalidResource, naming field, value and bound.

What lives here: names, ranges, texts, host names. What this must not know: any resource, protobuf, I/O.
"""

from __future__ import annotations

import re

from mesh.errors import InvalidResource

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_OCTET = re.compile(r"0|[1-9][0-9]{0,2}")


def check_name(name: str, where: str = "name") -> None:
    """Refuse what is no DNS label (RFC 1123): services and endpoints become host names and metric labels."""
    if not isinstance(name, str) or not _LABEL.fullmatch(name):
        raise InvalidResource(where, f"{name!r} is not a name: 1..63 of a-z, 0-9 and '-', "
                                     "not starting or ending with '-'")


def check_range(where: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidResource(where, f"{value!r} is not a number")
    if not low <= value <= high:  # nor is NaN
        raise InvalidResource(where, f"{value!r} is outside {low:,}..{high:,}")


def check_whole(where: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidResource(where, f"{value!r} is not a whole number")
    check_range(where, value, low, high)


def check_text(where: str, value: str, most: int) -> None:
    """Refuse what is no text of at most `most` bytes of UTF-8."""
    if not isinstance(value, str):
        raise InvalidResource(where, f"{value!r} is not text")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidResource(where, f"{value!r} is not Unicode text") from None
    if size > most:
        raise InvalidResource(where, f"{size:,} bytes, at most {most:,}")


def check_host(host: str) -> None:
    """Refuse what is neither an IPv4 address, an IPv6 address (without brackets) nor a host name."""
    if isinstance(host, str):
        if ":" in host:
            import ipaddress  # seldom needed, and not light

            try:
                ipaddress.IPv6Address(host)
                return
            except ValueError:
                pass
        elif host.replace(".", "").isdecimal():
            parts = host.split(".")
            if len(parts) == 4 and all(_OCTET.fullmatch(part) and int(part) <= 255 for part in parts):
                return
        elif _HOST_NAME.fullmatch(host):
            return
    raise InvalidResource("host", f"{host!r} is neither an IP address nor a host name")
