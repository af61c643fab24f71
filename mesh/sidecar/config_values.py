"""The values an option can have: addresses, names, durations, from the text of a flag, a variable or a file.

What lives here: one parser per kind of value; each returns the value or raises ValueError with the problem, bound
included. What this must not know: which option it is for, or where the text came from.
"""

from __future__ import annotations

import math
import os
import pathlib
import re
from typing import NamedTuple

from mesh.errors import InvalidResource
from mesh.model import MAX_PRIORITY, MAX_WEIGHT, Protocol, check_name
from mesh.sidecar.sources import check_network

LOG_LEVELS = ("debug", "info", "warning", "error")
MAX_DRAIN_TIMEOUT = 3600.0
MAX_SPIN = 1000  # microseconds
MAX_WORKERS = 128

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9]+)?")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?")
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_SIZE = re.compile(r"([0-9]{1,15})(KiB|MiB|GiB|KB|MB|GB)?")
_SIZES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9, None: 1}
MIN_SIZE = 4 << 20
MAX_SIZE = 1 << 40
_LOOPBACK = "127.0.0.1"


class Address(NamedTuple):
    """A TCP address. Port 0 means any free port where one listens, and "the inbound port" in `advertise`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Outbound(NamedTuple):
    """One outbound listener: calls to `address` go to `service`.

    `protocol` is None unless declared (`stock=15003/tcp`): then discovery says what the service speaks.
    """

    service: str
    address: Address
    protocol: Protocol | None = None

    def __str__(self) -> str:
        return f"{self.service}={self.address}" + (f"/{self.protocol.value}" if self.protocol else "")


class Label(NamedTuple):
    """One entry of an endpoint's metadata."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


def text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"text is needed, got {raw!r}; quote it")
    return raw.strip()


def truth(raw: object) -> bool:
    """`true` or `false`, in any case."""
    given = str(raw).strip().lower()
    if given not in ("true", "false"):
        raise ValueError(f"{given[:40]!r} is neither true nor false")
    return given == "true"


def name(raw: object) -> str:
    value = text(raw)
    try:
        check_name(value)
    except InvalidResource as error:
        raise ValueError(error.problem) from None
    return value


def label(raw: object) -> str:
    value = text(raw)
    if len(value) > 63 or not value.isprintable():
        raise ValueError(f"{value!r} is not a label of at most 63 printable characters")
    return value


def path(raw: object) -> str:
    value = text(raw)
    if not value or "\0" in value:
        raise ValueError(f"{value!r} is not a path")
    return value


def port(raw: str, low: int = 0) -> int:
    if not raw.isascii() or not raw.isdigit():
        raise ValueError(f"{raw!r} is not a port")
    if not low <= int(raw) <= 65_535:
        raise ValueError(f"port {int(raw)} is outside {low}..65535")
    return int(raw)


def address(raw: object, default_host: str = "", default_port: str = "", low_port: int = 0) -> Address:
    value = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else text(raw)
    host, separator, number = value.rpartition(":")
    if not separator and default_host and value.isdigit():
        host, number = default_host, value
    elif default_port and (not separator or value.endswith("]")):
        host, number = value, default_port
    elif not separator:
        raise ValueError(f"{value!r} is not {'[HOST:]PORT' if default_host else 'HOST:PORT'}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{value!r} is ambiguous: write an IPv6 address in brackets, [::1]:PORT")
    if not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is neither an IP address nor a host name")
    return Address(host, port(number, low_port))


def listen(raw: object) -> Address:
    return address(raw, default_host=_LOOPBACK)


def app(raw: object) -> Address:
    return address(raw, default_host=_LOOPBACK, low_port=1)


def remote(raw: object) -> Address:
    return address(raw, low_port=1)


def advertise(raw: object) -> Address:
    return address(raw, default_port="0")


def protocol(raw: object) -> Protocol:
    value = text(raw)
    try:
        return Protocol(value.lower())
    except ValueError:
        raise ValueError(f"{value!r} is not a protocol: {', '.join(p.value for p in Protocol)}") from None


def proxy_protocol(raw: object) -> str:
    value = text(raw).lower()
    if value not in ("v1", "v2"):
        raise ValueError(f"{value!r} is no version of the PROXY protocol: v1, v2")
    return value


def network(raw: object) -> str:
    value = text(raw)
    try:
        return check_network(value)
    except ValueError:
        raise ValueError(f"{value!r} is neither an IP address nor a network (10.0.0.0/8)") from None


def outbound(raw: object) -> Outbound:
    value = text(raw)
    service, separator, rest = value.partition("=")
    if not separator:
        raise ValueError(f"{value!r} is not NAME=[HOST:]PORT")
    where, slash, declared = rest.partition("/")
    return Outbound(name(service), listen(where), protocol(declared) if slash else None)


def metadata(raw: object) -> Label:
    value = text(raw)
    key, separator, rest = value.partition("=")
    if not separator or not key:
        raise ValueError(f"{value!r} is not KEY=VALUE")
    if len(key.encode()) > 63 or len(rest.encode()) > 256:
        raise ValueError(f"{value[:40]!r} is too long: keys have at most 63 bytes, values 256")
    if key.startswith("mesh."):
        raise ValueError(f"{key!r} is the mesh's own: choose a key that does not start with 'mesh.'")
    return Label(key, rest)


def priority(raw: object) -> int:
    return whole(raw, MAX_PRIORITY)


def weight(raw: object) -> int:
    return whole(raw, MAX_WEIGHT)


def descriptor(raw: object) -> int:
    return whole(raw, 1_048_576)


def connections(raw: object) -> int:
    return whole(raw, 1_000_000)


def size(raw: object) -> int:
    """Return octets: `256MiB`, `1GB`, or a bare number of octets; raises ValueError."""
    match = None if isinstance(raw, bool) else _SIZE.fullmatch(str(raw).strip())
    if match is None:
        raise ValueError(f"{raw!r} is not a size: 256MiB, 1GB")
    value = int(match[1]) * _SIZES[match[2]]
    if not MIN_SIZE <= value <= MAX_SIZE:
        raise ValueError(f"{raw} is outside 4MiB..1TiB")
    return value


def workers(raw: object) -> int:
    """Return a number of processes; `auto` is what this process may use of the machine's cores."""
    if isinstance(raw, str) and raw.strip().lower() == "auto":
        return min(usable_cores(), MAX_WORKERS)
    value = whole(raw, MAX_WORKERS)
    if value < 1:
        raise ValueError(f"{value} is outside 1..{MAX_WORKERS}")
    return value


def spin(raw: object) -> int:
    """Microseconds, 0..1000."""
    return whole(raw, MAX_SPIN)


def usable_cores(cpu_max: str = "/sys/fs/cgroup/cpu.max") -> int:
    """Return the cores that this process may run on, and not more than its control group's quota comes to."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = pathlib.Path(cpu_max).read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no control groups, or no quota ("max")
        return cores


def whole(raw: object, high: int) -> int:
    if isinstance(raw, bool) or not re.fullmatch(r"-?[0-9]{1,20}", str(raw).strip()):
        raise ValueError(f"{raw!r} is not a whole number")
    value = int(str(raw))
    if not 0 <= value <= high:
        raise ValueError(f"{value} is outside 0..{high}")
    return value


def ratio(raw: object) -> float:
    """Return a part of all, above 0."""
    try:
        value = math.nan if isinstance(raw, bool) else float(str(raw))
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise ValueError(f"{raw!r} is no ratio above 0 and up to 1")
    return value


def duration(raw: object) -> float:
    """Return seconds: `30s`, `250ms`, `5m`, `1h`, or a bare number of seconds; raises ValueError."""
    match = None if isinstance(raw, bool) else _DURATION.fullmatch(str(raw).strip())
    if match is None:
        raise ValueError(f"{raw!r} is not a duration: 30s, 250ms, 5m, 1h")
    return float(match[1]) * _UNIT[match[2]]


def drain_timeout(raw: object) -> float:
    value = duration(raw)
    if value > MAX_DRAIN_TIMEOUT:
        raise ValueError(f"{raw} is outside 0s..1h")
    return value


def log_level(raw: object) -> str:
    value = text(raw).lower()
    if value not in LOG_LEVELS:
        raise ValueError(f"{raw!r} is not a log level: {', '.join(LOG_LEVELS)}")
    return value
