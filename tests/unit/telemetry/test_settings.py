"""The OTEL_* variables: defaults, precedence, one clear message per mistake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import sampling

from mesh.errors import InvalidConfig
from mesh.telemetry.settings import SamplerSettings, TelemetrySettings, telemetry_settings

CONTROL_PLANE = (("127.0.0.1", 15010),)


def read(**environ: str) -> TelemetrySettings:
    return telemetry_settings(environ, CONTROL_PLANE)


def test_defaults() -> None:
    assert read() == TelemetrySettings(targets=CONTROL_PLANE, sampler=SamplerSettings(True, 0, True))
    assert read(OTEL_TRACES_SAMPLER="", OTEL_EXPORTER_OTLP_ENDPOINT=" ", OTEL_BSP_SCHEDULE_DELAY="") == read()


@pytest.mark.parametrize("environ", [{"OTEL_SDK_DISABLED": "TRUE"}, {"OTEL_TRACES_EXPORTER": "none"},
                                     {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_SAMPLER": "nonsense"}])
def test_disabled(environ: dict[str, str]) -> None:
    settings = telemetry_settings(environ, CONTROL_PLANE)
    assert not settings.enabled
    assert not settings.sampler.sampled(0, True, True)


@pytest.mark.parametrize("value", ["false", "1", "yes"])
def test_only_true_disables(value: str) -> None:
    assert read(OTEL_SDK_DISABLED=value).enabled


@pytest.mark.parametrize(("name", "expected"), [
    ("always_on", SamplerSettings(True, 0, False)),
    ("always_off", SamplerSettings(False, 0, False)),
    ("Parentbased_Always_On", SamplerSettings(True, 0, True)),
    ("parentbased_always_off", SamplerSettings(False, 0, True)),
    ("traceidratio", SamplerSettings(False, 1 << 62, False)),
    ("parentbased_traceidratio", SamplerSettings(False, 1 << 62, True)),
])
def test_samplers(name: str, expected: SamplerSettings) -> None:
    assert read(OTEL_TRACES_SAMPLER=name, OTEL_TRACES_SAMPLER_ARG="0.25").sampler == expected


def test_ratio_one_is_the_default_and_always() -> None:
    sampler = read(OTEL_TRACES_SAMPLER="traceidratio").sampler
    assert sampler.root_always
    assert sampler.sampled((1 << 64) - 1, False, False)


@given(ratio=st.floats(0, 1), trace_lo=st.integers(0, (1 << 64) - 1))
def test_ratio_decides_as_the_sdk_does(ratio: float, trace_lo: int) -> None:
    ours = read(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG=repr(ratio)).sampler
    theirs = sampling.TraceIdRatioBased(ratio).should_sample(None, trace_lo | 1 << 100, "x").decision.is_sampled()
    assert ours.sampled(trace_lo, False, False) == theirs
    assert 0 <= ours.root_bound < 1 << 64


@pytest.mark.parametrize("parent_based", [True, False])
@pytest.mark.parametrize("parent_sampled", [True, False])
@pytest.mark.parametrize("root_always", [True, False])
def test_parent(parent_based: bool, parent_sampled: bool, root_always: bool) -> None:
    sampler = SamplerSettings(root_always, 0, parent_based)
    assert sampler.sampled(5, True, parent_sampled) == (parent_sampled if parent_based else root_always)
    assert sampler.sampled(5, False, parent_sampled) == root_always


@pytest.mark.parametrize(("text", "target"), [
    ("http://collector:4000", ("collector", 4000)),
    ("http://collector", ("collector", 4317)),
    ("http://collector:4317/", ("collector", 4317)),
    ("collector:99", ("collector", 99)),
    ("127.0.0.1:99", ("127.0.0.1", 99)),
    ("http://[::1]:99", ("::1", 99)),
])
def test_endpoint(text: str, target: tuple[str, int]) -> None:
    assert read(OTEL_EXPORTER_OTLP_ENDPOINT=text).targets == (target,)
    assert read(OTEL_EXPORTER_OTLP_ENDPOINT="http://x:1", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=text).targets == (target,)


def test_headers() -> None:
    assert read(OTEL_EXPORTER_OTLP_HEADERS="Api-Key=a%20b=c, tenant = 7 ,,").metadata == (
        ("api-key", "a b=c"), ("tenant", "7"))
    assert read(OTEL_EXPORTER_OTLP_HEADERS="a=1", OTEL_EXPORTER_OTLP_TRACES_HEADERS="b=2").metadata == (("b", "2"),)
    assert "secret" not in repr(read(OTEL_EXPORTER_OTLP_HEADERS="api-key=secret"))


def test_numbers() -> None:
    settings = read(OTEL_EXPORTER_OTLP_TIMEOUT="2500", OTEL_BSP_SCHEDULE_DELAY="200", OTEL_BSP_MAX_QUEUE_SIZE="100",
                    OTEL_BSP_MAX_EXPORT_BATCH_SIZE="50")
    assert (settings.timeout, settings.schedule_delay) == (2.5, 0.2)
    assert (settings.max_queue_size, settings.max_export_batch_size) == (100, 50)
    assert read(OTEL_EXPORTER_OTLP_TIMEOUT="1", OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="2000").timeout == 2.0
    assert read(OTEL_BSP_MAX_QUEUE_SIZE="100").max_export_batch_size == 100


@pytest.mark.parametrize(("name", "value", "says"), [
    ("OTEL_TRACES_SAMPLER", "jaeger_remote", "'jaeger_remote' is not known; one of always_on"),
    ("OTEL_TRACES_EXPORTER", "zipkin", "'zipkin' is not supported, only otlp and none"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "'http/protobuf' is not supported, only grpc"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4317", "the scheme 'https' is not supported"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:99999", "is no address"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:1/v1/traces", "is not http://HOST:PORT"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://", "is not http://HOST:PORT"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "novalue", "'novalue' is not followed by =VALUE"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "a=%0a", "in printable ASCII"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "grpc-timeout=1S", "can't be set"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "'10s' is not a whole number"),
    ("OTEL_BSP_SCHEDULE_DELAY", "0", "0 is outside 1..3600000"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5000", "5000 is more than OTEL_BSP_MAX_QUEUE_SIZE, 4096"),
])
def test_mistakes_name_the_variable(name: str, value: str, says: str) -> None:
    with pytest.raises(InvalidConfig, match="^" + name) as caught:
        telemetry_settings({name: value}, CONTROL_PLANE)
    assert says in str(caught.value)


@pytest.mark.parametrize("value", ["2", "-0.1", "nan", "half"])
def test_bad_ratio(value: str) -> None:
    with pytest.raises(InvalidConfig, match="OTEL_TRACES_SAMPLER_ARG"):
        read(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG=value)
