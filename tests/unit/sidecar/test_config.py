from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mesh.errors import InvalidConfig
from mesh.model import Protocol
from mesh.sidecar.config import SIDECAR, Address, Outbound, SidecarConfig, load, parse_addresses, to_argv
from mesh.sidecar.config_values import Label

CART = ["--service", "cart"]


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def problem(argv: list[str], environ: dict[str, str] | None = None) -> str:
    with pytest.raises(InvalidConfig) as caught:
        load(argv, environ or {})
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def test_defaults() -> None:
    assert load(CART, {}) == SidecarConfig(service="cart", instance="cart-0")
    assert load(CART, {}).id == "cart/cart-0"


def test_every_flag() -> None:
    config = load(["--service", "web", "--instance", "web-3", "--app", "8080", "--protocol", "http2", "--inbound",
                   "[::1]:7000", "--advertise", "web-3.local", "--weight", "5", "--priority", "1",
                   "--metadata", "version=2,tier=gold=er", "--region", "eu", "--zone", "b",
                   "--outbound", "cart=15001,stock=127.0.0.2:15003/tcp", "--outbound", "payment=0",
                   "--outbound-shared", "15000", "--control-plane", "a:1,b:2", "--state-dir", "/var/lib/mesh",
                   "--drain-timeout", "250ms", "--log-level", "debug", "--ready-fd", "7"], {})
    assert config == SidecarConfig(
        service="web", instance="web-3", app=Address("127.0.0.1", 8080), protocol=Protocol.HTTP2,
        inbound=Address("::1", 7000), advertise=Address("web-3.local", 0), weight=5, priority=1,
        metadata=(Label("version", "2"), Label("tier", "gold=er")), region="eu", zone="b",
        outbound=(Outbound("cart", Address("127.0.0.1", 15001)),
                  Outbound("stock", Address("127.0.0.2", 15003), Protocol.TCP),
                  Outbound("payment", Address("127.0.0.1", 0))),
        outbound_shared=Address("127.0.0.1", 15000), control_plane=(Address("a", 1), Address("b", 2)),
        state_dir="/var/lib/mesh", drain_timeout=0.25, log_level="debug", ready_fd=7)
    assert load(to_argv(config), {"MESH_SERVICE": "other", "MESH_WEIGHT": "9"}) == config


def test_every_field_has_an_option() -> None:
    assert {field.name for field in dataclasses.fields(SidecarConfig)} == {option.name for option in SIDECAR.options}


def test_flags_win_over_variables_win_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "s.toml", "weight = 1\nzone = 'file'\nregion = 'file'\noutbound = ['cart=1', 'stock=2']\n")
    config = load([*CART, "--weight", "3"], {"MESH_CONFIG": path, "MESH_WEIGHT": "2", "MESH_ZONE": "variable",
                                             "MESH_OUTBOUNDS": "payment=3"})
    assert (config.weight, config.zone, config.region) == (3, "variable", "file")
    assert [outbound.service for outbound in config.outbound] == ["payment"]


def test_the_flag_config_wins_over_the_variable(tmp_path: Path) -> None:
    one, two = write(tmp_path, "1.json", '{"weight": 1}'), write(tmp_path, "2.json", '{"weight": 2}')
    assert load([*CART, "--config", one], {"MESH_CONFIG": two}).weight == 1


def test_an_empty_variable_counts_as_unset() -> None:
    assert load(CART, {"MESH_WEIGHT": "", "MESH_CONFIG": ""}).weight == 1


def test_what_run_tells_its_app_is_not_a_setting() -> None:
    assert load(CART, {"MESH_OUTBOUND": "127.0.0.1:1", "MESH_OUTBOUND_SHARED": "127.0.0.1:2"}).outbound == ()


@pytest.mark.parametrize(("name", "text"), [
    ("s.yaml", "service: cart\napp: 8080\noutbound:\n  stock: 15003/tcp\n  web: '[::1]:4'\ncontrol_plane: [a:1, b:2]\n"
               "drain_timeout: 1.5\n"),
    ("s.yml", "{service: cart, app: 127.0.0.1:8080, outbound: [stock=15003/tcp, 'web=[::1]:4'],"
              " control_plane: 'a:1,b:2', drain_timeout: 1500ms}"),
    ("s.toml", 'service = "cart"\napp = 8080\ncontrol_plane = ["a:1", "b:2"]\ndrain_timeout = "1.5s"\n'
               '[outbound]\nstock = "15003/tcp"\nweb = "[::1]:4"\n'),
    ("s.json", '{"service": "cart", "app": "8080", "control_plane": ["a:1", "b:2"], "drain_timeout": 1.5,'
               '"outbound": {"stock": "15003/tcp", "web": "[::1]:4"}}'),
])
def test_each_file_format_says_the_same(tmp_path: Path, name: str, text: str) -> None:
    assert load(["--config", write(tmp_path, name, text)], {}) == SidecarConfig(
        service="cart", instance="cart-0", app=Address("127.0.0.1", 8080), drain_timeout=1.5,
        outbound=(Outbound("stock", Address("127.0.0.1", 15003), Protocol.TCP), Outbound("web", Address("::1", 4))),
        control_plane=(Address("a", 1), Address("b", 2)))


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert load([*CART, "--config", write(tmp_path, "s.yaml", "# nothing\n")], {}).weight == 1


@pytest.mark.parametrize(("argv", "expected"), [
    ([], "--service: missing (or set MESH_SERVICE, or service in the file)"),
    (["--service", "Cart"], "--service Cart: 'Cart' is not a name: "),
    (["--service"], "--service: expected one argument"),
    ([*CART, "--outbound", "stock=99999"], "--outbound stock=99999: port 99999 is outside 0..65535"),
    ([*CART, "--outbound", "stock"], "--outbound stock: 'stock' is not NAME=[HOST:]PORT"),
    ([*CART, "--outbound", "stock=1/sctp"],
     "--outbound stock=1/sctp: 'sctp' is not a protocol: auto, tcp, udp, http1, http2, grpc"),
    ([*CART, "--outbound", "stock=x"], "--outbound stock=x: 'x' is not [HOST:]PORT"),
    ([*CART, "--outbound", "a=1,a=2"], "--outbound a=2: outbound a is given twice"),
    ([*CART, "--outbound", "a=1", "--outbound", "b=1"], "--outbound b=1: port 1 is taken by outbound a"),
    ([*CART, "--outbound", "a=1/udp", "--outbound", "b=1/udp"], "--outbound b=1/udp: port 1 is taken by outbound a"),
    ([*CART, "--app", "1", "--protocol", "udp", "--inbound", "1"], "--inbound 1: port 1 is taken by the app"),
    ([*CART, "--outbound", "a=1", "--outbound-shared", "1"], "--outbound a=1: port 1 is taken by outbound-shared"),
    ([*CART, "--app", "1", "--outbound", "a=0.0.0.0:1"], "--outbound a=0.0.0.0:1: port 1 is taken by the app"),
    ([*CART, "--app", "0"], "--app 0: port 0 is outside 1..65535"),
    ([*CART, "--app", "::1:80"], "--app ::1:80: '::1:80' is ambiguous: write an IPv6 address in brackets, [::1]:PORT"),
    ([*CART, "--app", "a b:80"], "--app a b:80: 'a b' is neither an IP address nor a host name"),
    ([*CART, "--app", "1", "--inbound", "0.0.0.0:2"],
     "--inbound 0.0.0.0:2: callers can't reach 0.0.0.0; give --advertise HOST as well"),
    ([*CART, "--advertise", "[::]"], "--advertise [::]: callers can't reach ::"),
    ([*CART, "--weight", "1000001"], "--weight 1000001: 1000001 is outside 0..1000000"),
    ([*CART, "--weight", "-1"], "--weight -1: -1 is outside 0..1000000"),
    ([*CART, "--priority", "128"], "--priority 128: 128 is outside 0..127"),
    ([*CART, "--metadata", "a=1,b"], "--metadata b: 'b' is not KEY=VALUE"),
    ([*CART, "--metadata", "=1"], "--metadata =1: '=1' is not KEY=VALUE"),
    ([*CART, "--metadata", "k=" + "x" * 257], "--metadata k=" + "x" * 257 + ": 'k=xxx"),
    ([*CART, "--metadata", "mesh.x=1"], "--metadata mesh.x=1: 'mesh.x' is the mesh's own"),
    ([*CART, "--metadata", "a=1,a=2"], "--metadata a=2: a is given twice"),
    ([*CART, "--outbound", "a=1", "--admin", "1"], "--outbound a=1: port 1 is taken by admin"),
    ([*CART, "--admin", "0", "--access-log", ""], "--access-log : '' is not a path"),
    ([*CART, "--weight", "much"], "--weight much: 'much' is not a whole number"),
    ([*CART, "--control-plane", "a:1,b"], "--control-plane b: 'b' is not HOST:PORT"),
    ([*CART, "--drain-timeout", "soon"], "--drain-timeout soon: 'soon' is not a duration: 30s, 250ms, 5m, 1h"),
    ([*CART, "--drain-timeout", "2h"], "--drain-timeout 2h: 2h is outside 0s..1h"),
    ([*CART, "--log-level", "loud"], "--log-level loud: 'loud' is not a log level: debug, info, warning, error"),
    ([*CART, "--zone", "z" * 64], f"--zone {'z' * 64}: '{'z' * 64}' is not a label of at most 63 printable characters"),
    ([*CART, "--state-dir", ""], "--state-dir : '' is not a path"),
    ([*CART, "--outbond", "stock=1"], "--outbond: no such flag; did you mean --outbound?"),
    ([*CART, "--wieght=3"], "--wieght: no such flag; did you mean --weight?"),
    ([*CART, "--quux"], "--quux: no such flag"),
    ([*CART, "50051"], "50051: unexpected argument"),
    ([*CART, "--config", "sidecar.ini"], "sidecar.ini: No such file or directory"),
])
def test_a_wrong_flag_is_named(argv: list[str], expected: str) -> None:
    assert problem(argv).startswith(expected)


@pytest.mark.parametrize(("variable", "value", "expected"), [
    ("MESH_WEIGHT", "x", "MESH_WEIGHT=x: 'x' is not a whole number"),
    ("MESH_APP", "nowhere:", "MESH_APP=nowhere:: '' is not a port"),
    ("MESH_OUTBOUNDS", "a=1,b=70000", "MESH_OUTBOUNDS: b=70000: port 70000 is outside 0..65535"),
    ("MESH_CONTROL_PLANE", "x", "MESH_CONTROL_PLANE: x: 'x' is not HOST:PORT"),
    ("MESH_CONFIG", "/nonexistent/s.yaml", "/nonexistent/s.yaml: No such file or directory"),
])
def test_a_wrong_variable_is_named(variable: str, value: str, expected: str) -> None:
    assert problem(CART, {variable: value}) == expected


@pytest.mark.parametrize(("name", "text", "expected"), [
    ("s.yaml", "# drain_timeout: 3\nzone: a\n\ndrain_timeout: 7 parsecs\n",
     ":4: drain_timeout: '7 parsecs' is not a duration: 30s, 250ms, 5m, 1h"),
    ("s.yaml", "weight: 1\noutbound:\n  a: 1\n  b: 99999\n", ":4: outbound.b: port 99999 is outside 0..65535"),
    ("s.yaml", "weight: 1\ndrain_timout: 3\n", ":2: drain_timout: no such option; did you mean drain_timeout?"),
    ("s.yaml", "ready_fd: 3\n", ":1: ready_fd: no such option"),
    ("s.yaml", "zone: 1\n", ":1: zone: text is needed, got 1; quote it"),
    ("s.yaml", "zone: no\n", ":1: zone: text is needed, got False; quote it"),
    ("s.yaml", "weight: true\n", ":1: weight: True is not a whole number"),
    ("s.yaml", "outbound: 5\n", ":1: outbound: text is needed, got 5; quote it"),
    ("s.toml", "weight = 1\n[outbound]\na = 70000\n", ":3: outbound.a: port 70000 is outside 0..65535"),
    ("s.json", '{"weight": 1,\n "log_level": "loud"}', ":2: log_level: 'loud' is not a log level"),
])
def test_a_wrong_option_in_a_file_is_named_with_its_line(tmp_path: Path, name: str, text: str, expected: str) -> None:
    path = write(tmp_path, name, text)
    assert problem([*CART, "--config", path]).startswith(path + expected)


def test_equal_ports_on_different_hosts_are_fine() -> None:
    assert len(load([*CART, "--outbound", "a=127.0.0.1:1,b=127.0.0.2:1,c=0,d=0"], {}).outbound) == 4


def test_the_ports_of_udp_are_others_than_those_of_tcp() -> None:
    assert len(load([*CART, "--outbound", "a=1/udp,b=1/tcp,c=2/udp", "--app", "2"], {}).outbound) == 3


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load(["--help"], {})
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for option in SIDECAR.options:
        assert option.switch in shown
        assert option.variable in shown
    assert "examples:" in shown


def test_addresses_of_a_list() -> None:
    assert parse_addresses("--control-plane", "a:1,[::1]:2") == (Address("a", 1), Address("::1", 2))
    with pytest.raises(InvalidConfig, match=r"^--control-plane: 'b' is not HOST:PORT$"):
        parse_addresses("--control-plane", "a:1,b")


def test_the_switch_stands_alone() -> None:
    config = load(["--service", "cart", "--takeover"], {})
    assert config.takeover
    assert "--takeover" in to_argv(config)
    assert load(to_argv(config), {}) == config
    assert not load(["--service", "cart"], {"MESH_TAKEOVER": "true"}).takeover  # one start's, not a setting
    with pytest.raises(InvalidConfig, match="--takeover"):
        load(["--service", "cart", "--takeover=yes"], {})


def test_certificate_and_key_belong_together(tmp_path: Path) -> None:
    both = ["--tls-certificate", "/c.pem", "--tls-key", "/k.pem"]
    config = load(["--service", "cart", "--app", "1", *both, "--tls-required"], {})
    assert (config.tls_certificate, config.tls_key, config.tls_required) == ("/c.pem", "/k.pem", True)
    assert load(to_argv(config), {}) == config
    for argv, problem in (
            (["--app", "1", *both[:2]], "--tls-certificate /c.pem: give --tls-key as well"),
            (["--app", "1", *both[2:]], "--tls-key /k.pem: give --tls-certificate as well"),
            (["--app", "1", "--tls-required"], "--tls-required true: give --tls-certificate as well"),
            (both, "--tls-certificate /c.pem: there is no app whose callers could speak TLS; give --app as well"),
            (["--app", "1", "--protocol", "udp", *both], "--tls-certificate /c.pem: there is no TLS over UDP")):
        with pytest.raises(InvalidConfig) as caught:
            load(["--service", "cart", *argv], {})
        assert str(caught.value) == problem
    (tmp_path / "sidecar.yaml").write_text("service: cart\napp: 1\ntls_certificate: /c.pem\ntls_key: /k.pem\n"
                                           "tls_required: true\n")
    assert load(["--config", str(tmp_path / "sidecar.yaml")], {}).tls_required


def test_what_is_of_one_start_only_is_no_key_of_a_file(tmp_path: Path) -> None:
    for key in ("takeover", "ready_fd"):
        (tmp_path / "sidecar.yaml").write_text(f"service: cart\n{key}: 1\n")
        with pytest.raises(InvalidConfig, match=f"{key}: no such option"):
            load(["--config", str(tmp_path / "sidecar.yaml")], {})
