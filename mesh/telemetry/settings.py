"""What the standard `OTEL_*` variables say, checked once at start.

What lives here: parsing of the environment into frozen settings, with one clear InvalidConfig per mistake. What this
must not know: the OpenTelemetry SDK, sockets. Names and defaults:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
https://opentelemetry.io/docs/specs/otel/protocol/exporter/. Durations there are milliseconds (the Python SDK reads
OTEL_EXPORTER_OTLP_TIMEOUT as seconds; the specification is followed here).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from mesh.errors import InvalidConfig

DEFAULT_PORT = 4317  # OTLP/gRPC
# The SDK waits 5 s before it exports; `mesh traces` is for people who look right after the request.
SCHEDULE_DELAY_MS = 1000
MAX_QUEUE_SIZE = 4096
MAX_EXPORT_BATCH_SIZE = 512
TIMEOUT_MS = 10_000

_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """Which requests are recorded, in the form the hot path wants.

    With `parent_based`, a request that comes with a valid traceparent follows its sampled flag. All others are recorded
    when `root_always` or when the low 64 bits of the trace id are below `root_bound` (0..2^64-1), as the SDK's
    TraceIdRatioBased does; its bound of 2^64 for the ratio 1 is `root_always`, so that the rest fits 64 bits.
    """

    root_always: bool = True
    root_bound: int = 0
    parent_based: bool = True

    def sampled(self, trace_lo: int, has_parent: bool, parent_sampled: bool) -> bool:
        """Whether a request is recorded."""
        if has_parent and self.parent_based:
            return parent_sampled
        return self.root_always or trace_lo < self.root_bound


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """`enabled` False: nothing is recorded and no exporter started. Seconds; counts of spans.

    `targets` are tried in order. `metadata` goes with every export (lower-case names).
    """

    enabled: bool = True
    sampler: SamplerSettings = SamplerSettings()
    targets: tuple[tuple[str, int], ...] = ()
    metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # may hold an API key
    timeout: float = TIMEOUT_MS / 1000
    schedule_delay: float = SCHEDULE_DELAY_MS / 1000
    max_queue_size: int = MAX_QUEUE_SIZE
    max_export_batch_size: int = MAX_EXPORT_BATCH_SIZE


def telemetry_settings(environ: Mapping[str, str], default_targets: tuple[tuple[str, int], ...]) -> TelemetrySettings:
    """Read the environment; `default_targets` (the control plane) are used when no endpoint is named.

    Raises InvalidConfig naming the variable. An empty variable counts as not set. A disabled exporter's other variables
    are not looked at.
    """
    if _boolean(environ, "OTEL_SDK_DISABLED") or _choice(environ, "OTEL_TRACES_EXPORTER", "otlp", "none") == "none":
        return TelemetrySettings(enabled=False, sampler=SamplerSettings(root_always=False, parent_based=False))
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if _choice(environ, name, "grpc"):
            break
    queue = _integer(environ, "OTEL_BSP_MAX_QUEUE_SIZE", MAX_QUEUE_SIZE, 1, 1_000_000)
    batch = _integer(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(MAX_EXPORT_BATCH_SIZE, queue), 1, 1_000_000)
    if batch > queue:
        raise InvalidConfig(f"OTEL_BSP_MAX_EXPORT_BATCH_SIZE: {batch} is more than OTEL_BSP_MAX_QUEUE_SIZE, {queue}")
    return TelemetrySettings(
        sampler=_sampler(environ),
        targets=_endpoint(environ) or default_targets,
        metadata=_headers(environ),
        timeout=_integer(environ, _first(environ, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"),
                         TIMEOUT_MS, 1, 3_600_000) / 1000,
        schedule_delay=_integer(environ, "OTEL_BSP_SCHEDULE_DELAY", SCHEDULE_DELAY_MS, 1, 3_600_000) / 1000,
        max_queue_size=queue,
        max_export_batch_size=batch,
    )


def _first(environ: Mapping[str, str], *names: str) -> str:
    """The first of `names` that is set; the last when none is."""
    for name in names:
        if environ.get(name, "").strip():
            return name
    return names[-1]


def _boolean(environ: Mapping[str, str], name: str) -> bool:
    # The specification: only "true", in any case, is true; everything else is false.
    return environ.get(name, "").strip().lower() == "true"


def _choice(environ: Mapping[str, str], name: str, *known: str) -> str:
    value = environ.get(name, "").strip().lower()
    if value and value not in known:
        raise InvalidConfig(f"{name}: {value!r} is not supported, only {' and '.join(known)}")
    return value


def _integer(environ: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise InvalidConfig(f"{name}: {text!r} is not a whole number") from None
    if not low <= value <= high:
        raise InvalidConfig(f"{name}: {value} is outside {low}..{high}")
    return value


def _sampler(environ: Mapping[str, str]) -> SamplerSettings:
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
    parent_based = name.startswith("parentbased_")
    match name.removeprefix("parentbased_"):
        case "always_on":
            return SamplerSettings(True, 0, parent_based)
        case "always_off":
            return SamplerSettings(False, 0, parent_based)
        case "traceidratio":
            bound = round(_ratio(environ) * (1 << 64))
            return SamplerSettings(bound > (1 << 64) - 1, min(bound, (1 << 64) - 1), parent_based)
    raise InvalidConfig(f"OTEL_TRACES_SAMPLER: {name!r} is not known; one of always_on, always_off, traceidratio, "
                        "parentbased_always_on, parentbased_always_off, parentbased_traceidratio")


def _ratio(environ: Mapping[str, str]) -> float:
    text = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1.0"
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise InvalidConfig(f"OTEL_TRACES_SAMPLER_ARG: {text!r} is no ratio in 0..1")
    return ratio


def _endpoint(environ: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    name = _first(environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    text = environ.get(name, "").strip()
    if not text:
        return ()
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        host, port = url.hostname, url.port
    except ValueError as exc:
        raise InvalidConfig(f"{name}: {text!r} is no address: {exc}") from None
    if url.scheme != "http":
        raise InvalidConfig(f"{name}: {text!r}: the scheme {url.scheme!r} is not supported, only http "
                            "(OTLP over gRPC without TLS)")
    if not host or url.path.strip("/") or url.query:
        raise InvalidConfig(f"{name}: {text!r} is not http://HOST:PORT")
    return ((host, DEFAULT_PORT if port is None else port),)


def _headers(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """`name=value,name=value` with percent-encoded values (W3C Baggage without properties)."""
    variable = _first(environ, "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
    headers: dict[str, str] = {}
    for part in environ.get(variable, "").split(","):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        name, value = unquote(name).strip().lower(), unquote(value).strip(" \t")
        # The value is left out of the message: it may be a secret.
        if not (equals and _HEADER_NAME.fullmatch(name) and value.isascii() and value.isprintable()):
            raise InvalidConfig(f"{variable}: {name!r} is not followed by =VALUE in printable ASCII")
        if name.startswith("grpc-") or name in ("te", "content-type", "user-agent"):
            raise InvalidConfig(f"{variable}: {name!r} can't be set")
        headers[name] = value
    return tuple(headers.items())
