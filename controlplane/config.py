"""The control plane's settings, and how their text is read.

What lives here: one frozen dataclass and the parsers of addresses and sizes. What this must not know: argparse, what
the settings do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mesh.errors import InvalidConfig, InvalidResource
from mesh.resource.documents import parse_duration

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB)?")
_UNITS = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
          "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_DAYS = re.compile(r"([0-9]{1,5})d")
MIN_TRACE_SIZE = 4 << 20  # bytes; below this the store's log alone would fill the limit
_MAX_AGE = 3650 * 86_400


@dataclass(frozen=True, slots=True)
class Config:
    """Where to listen (port 0: any free one), where to keep data, and how much of traces, in bytes and seconds."""

    host: str = "127.0.0.1"
    port: int = 15010
    data_dir: Path = Path("mesh-data")
    trace_max_size: int = 256 << 20
    trace_max_age: float = 86_400.0
    ready_fd: int | None = None

    def __post_init__(self) -> None:
        if self.trace_max_size < MIN_TRACE_SIZE:
            raise InvalidConfig(f"--trace-max-size: {self.trace_max_size} bytes is less than {MIN_TRACE_SIZE >> 20}MiB")
        if not 1 <= self.trace_max_age <= _MAX_AGE:
            raise InvalidConfig(f"--trace-max-age: {self.trace_max_age:g} s is outside 1s..3650d")

    @property
    def address(self) -> str:
        """Host and port as one text, an IPv6 address in brackets."""
        return format_address(self.host, self.port)


def format_address(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str, flag: str) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:15010`, `localhost:0` or `[::1]:15010`."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise InvalidConfig(f"{flag}: {text!r} is not HOST:PORT, like 127.0.0.1:15010 or [::1]:15010")
    port = int(match["port"])
    if port > 65_535:
        raise InvalidConfig(f"{flag}: port {port} is outside 0..65535")
    return match["six"] or match["host"], port


def parse_size(text: str, flag: str) -> int:
    """Return the bytes of `256MiB`, `1.5GB` or `1048576`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidConfig(f"{flag}: {text!r} is not a size, like 256MiB, 1GB or a number of bytes")
    return round(float(match[1]) * _UNITS[match[2]])


def parse_age(text: str, flag: str) -> float:
    """Return the seconds of `24h`, `30m`, `7d` or a number of seconds."""
    days = _DAYS.fullmatch(text)
    if days is not None:
        return float(days[1]) * 86_400
    try:
        return parse_duration(float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else text, flag)
    except InvalidResource as error:
        raise InvalidConfig(str(error)) from None
