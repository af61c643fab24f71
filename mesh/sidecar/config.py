"""The sidecar's configuration: one schema, read from defaults < file < environment < flags.

What lives here: the frozen `SidecarConfig`, the table that gives each option its flag, variable and file key, and
`load()`, which refuses what is wrong with one line that names the place. What this must not know: sockets, the loop.
Parsers of single values are in `config_values`, file formats in `config_file`.

A source that sets an option replaces what the sources before it said of it, lists included. An empty variable counts as
unset, because that is what `${NAME:-}` leaves behind.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, NoReturn

from mesh.errors import InvalidConfig
from mesh.model import Protocol
from mesh.sidecar import config_values as values
from mesh.sidecar.config_file import read_file
from mesh.sidecar.config_values import Address, Outbound

__all__ = ["DEFAULT_CONTROL_PLANE", "OPTIONS", "SIDECAR", "Address", "Option", "Outbound", "SidecarConfig", "Usage",
           "load", "parse_addresses", "to_argv"]

DEFAULT_CONTROL_PLANE = Address("127.0.0.1", 15010)
ANY_LOCAL_PORT = Address("127.0.0.1", 0)


@dataclass(frozen=True, slots=True)
class SidecarConfig:
    """What a sidecar is told at start. Durations in seconds.

    `app` None: outbound only, nothing is registered. `advertise` None: callers are given the inbound address; its
    port 0 stands for the inbound port.
    """

    service: str
    instance: str
    app: Address | None = None
    protocol: Protocol = Protocol.GRPC
    inbound: Address = ANY_LOCAL_PORT
    advertise: Address | None = None
    weight: int = 1
    priority: int = 0
    metadata: tuple[values.Label, ...] = ()
    region: str = ""
    zone: str = ""
    outbound: tuple[Outbound, ...] = ()
    outbound_shared: Address | None = None
    control_plane: tuple[Address, ...] = (DEFAULT_CONTROL_PLANE,)
    state_dir: str = "mesh-state"
    app_proxy_protocol: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_required: bool = False
    proxy_protocol_from: tuple[str, ...] = ()
    detect_timeout: float = 3.0
    header_timeout: float = 10.0
    progress_timeout: float = 30.0
    idle_timeout: float = 300.0
    max_connections: int = 20_000
    max_connections_per_source: int = 0
    max_buffered: int = 268_435_456
    drain_timeout: float = 30.0
    allow_custom_policies: bool = False
    takeover: bool = False
    workers: int = 1
    spin: int = 0
    access_log: str = ""
    decisions: str = ""
    decisions_ratio: float = 1.0
    admin: Address | None = None
    allow_check_commands: bool = False
    log_level: str = "info"
    ready_fd: int | None = None

    @property
    def id(self) -> str:
        """`<service>/<instance>`: the sidecar's name in discovery, and the resource name of its endpoint."""
        return f"{self.service}/{self.instance}"


class Option(NamedTuple):
    """One option: `name` is the field of SidecarConfig and the key in a file; the flag is the same with dashes.

    Without a `metavar` the flag stands alone and means true.
    """

    name: str
    variable: str  # "" where the environment has no say
    group: str
    metavar: str
    parse: Callable[[object], Any]
    help: str
    many: bool = False
    flag: str = ""

    @property
    def switch(self) -> str:
        return self.flag or "--" + self.name.replace("_", "-")


# MESH_OUTBOUND and MESH_OUTBOUND_<SERVICE> are what `mesh run` tells its app: the two options go by other names.
OPTIONS: tuple[Option, ...] = (
    Option("service", "MESH_SERVICE", "identity", "NAME", values.name,
           "the service this instance belongs to (required)"),
    Option("instance", "MESH_INSTANCE", "identity", "NAME", values.name,
           "name of this instance, unique within the service; the endpoint gets the same (default: SERVICE-0)"),
    Option("region", "MESH_REGION", "identity", "NAME", values.label, "where the instance runs"),
    Option("zone", "MESH_ZONE", "identity", "NAME", values.label, "where in the region it runs"),
    Option("app", "MESH_APP", "inbound: calls to the local app", "[HOST:]PORT", values.app,
           "where the app listens; registered once it accepts connections, with UDP at once (default: outbound only)"),
    Option("protocol", "MESH_PROTOCOL", "inbound: calls to the local app", "grpc|http2|http1|tcp|udp|auto",
           values.protocol,
           "what the app speaks (default: grpc)"),
    Option("app_proxy_protocol", "MESH_APP_PROXY_PROTOCOL", "inbound: calls to the local app", "v1|v2",
           values.proxy_protocol, "begin each TCP connection to the app with a PROXY protocol header (default: none)"),
    Option("tls_certificate", "MESH_TLS_CERTIFICATE", "inbound: calls to the local app", "FILE", values.path,
           "end the TLS 1.3 of callers that speak it with this certificate and its chain, in PEM; read anew when it "
           "changes (default: relay what they say)"),
    Option("tls_key", "MESH_TLS_KEY", "inbound: calls to the local app", "FILE", values.path,
           "the private key of the certificate, in PEM"),
    Option("tls_required", "MESH_TLS_REQUIRED", "inbound: calls to the local app", "", values.truth,
           "refuse callers that don't speak TLS, other sidecars among them (default: serve them as well)"),
    Option("inbound", "MESH_INBOUND", "inbound: calls to the local app", "[HOST:]PORT", values.listen,
           "where other sidecars reach this one; port 0 is any free port (default: 127.0.0.1:0)"),
    Option("advertise", "MESH_ADVERTISE", "inbound: calls to the local app", "HOST[:PORT]", values.advertise,
           "address given to callers where it differs from --inbound"),
    Option("weight", "MESH_WEIGHT", "inbound: calls to the local app", "N", values.weight,
           "share of the traffic relative to the other instances, 0..1000000 (default: 1)"),
    Option("priority", "MESH_PRIORITY", "inbound: calls to the local app", "N", values.priority,
           "above 0, up to 127: a backup, called when those of lower numbers can't take it all (default: 0)"),
    Option("metadata", "MESH_METADATA", "inbound: calls to the local app", "KEY=VALUE", values.metadata,
           "what Services can choose subsets by; repeat it or separate by commas", many=True),
    Option("outbound", "MESH_OUTBOUNDS", "outbound: the app's calls", "NAME=[HOST:]PORT[/PROTOCOL]", values.outbound,
           "listen on PORT and carry what arrives to service NAME; repeat it or separate by commas", many=True),
    Option("outbound_shared", "MESH_SHARED_OUTBOUND", "outbound: the app's calls", "[HOST:]PORT", values.listen,
           "one port for all services that speak HTTP or TLS, told apart by :authority, Host, or TLS server name"),
    Option("control_plane", "MESH_CONTROL_PLANE", "operation", "HOST:PORT[,HOST:PORT]", values.remote,
           f"the control plane's replicas, tried in order (default: {DEFAULT_CONTROL_PLANE})", many=True),
    Option("state_dir", "MESH_STATE_DIR", "operation", "DIR", values.path,
           "keeps the last good state, served from while the control plane is away (default: mesh-state)"),
    Option("proxy_protocol_from", "MESH_PROXY_PROTOCOL_FROM", "operation", "NETWORK[,NETWORK]", values.network,
           "believe PROXY protocol headers (v1, v2) of connections from here (default: of nobody)", many=True),
    Option("detect_timeout", "MESH_DETECT_TIMEOUT", "operation", "DURATION", values.drain_timeout,
           "how long the first octets may take to tell the protocol where it is `auto`; then it is TCP (default: 3s)"),
    Option("header_timeout", "MESH_HEADER_TIMEOUT", "operation", "DURATION", values.drain_timeout,
           "how long an HTTP caller may take for a header section; 0 is no limit (default: 10s)"),
    Option("progress_timeout", "MESH_PROGRESS_TIMEOUT", "operation", "DURATION", values.drain_timeout,
           "within this time an HTTP caller moves 1 KiB of a body, or takes that much of an answer; 0 is no limit "
           "(default: 30s)"),
    Option("idle_timeout", "MESH_IDLE_TIMEOUT", "operation", "DURATION", values.drain_timeout,
           "how long a caller's HTTP connection may be without a request; 0 is no limit (default: 5m)"),
    Option("max_connections", "MESH_MAX_CONNECTIONS", "operation", "N", values.connections,
           "callers' connections that each listening port takes, more are reset; 0 is no limit (default: 20000)"),
    Option("max_connections_per_source", "MESH_MAX_CONNECTIONS_PER_SOURCE", "operation", "N", values.connections,
           "the same for each source address; 0 is no limit (default: 0)"),
    Option("max_buffered", "MESH_MAX_BUFFERED", "operation", "SIZE", values.size,
           "octets of requests and answers that a process holds for slow peers; new requests are refused from three "
           "quarters of it on (default: 256MiB)"),
    Option("drain_timeout", "MESH_DRAIN_TIMEOUT", "operation", "DURATION", values.drain_timeout,
           "how long a stop waits for what is in flight, at most 1h (default: 30s)"),
    Option("workers", "MESH_WORKERS", "operation", "N|auto", values.workers,
           f"processes that share the load, at most {values.MAX_WORKERS}; auto: one per usable core (default: 1)"),
    Option("spin", "MESH_SPIN", "operation", "MICROSECONDS", values.spin,
           "wait so long for more without sleeping, at most 1000: less latency for more CPU (default: 0, off)"),
    Option("allow_custom_policies", "MESH_ALLOW_CUSTOM_POLICIES", "operation", "", values.truth,
           "run Python that Services bring with them as balancing policies (default: their algorithms only)"),
    Option("takeover", "", "operation", "", bool,
           "take the listening sockets over from the running sidecar of this instance, and have it drain once this one "
           "is ready; without one, start as usual"),
    Option("access_log", "MESH_ACCESS_LOG", "operation", "FILE|-", values.path,
           "add one JSON line per request, connection or session that has ended; - is standard output (default: none)"),
    Option("decisions", "MESH_DECISIONS", "operation", "FILE", values.path,
           "record each attempt at an endpoint for `mesh simulate`, one JSON line each, 256 MiB at most "
           "(default: none)"),
    Option("decisions_ratio", "MESH_DECISIONS_RATIO", "operation", "RATIO", values.ratio,
           "record the attempts of this part of all requests, above 0 and up to 1 (default: 1)"),
    Option("admin", "MESH_ADMIN", "operation", "[HOST:]PORT", values.listen,
           "serve /metrics, /healthz and /statistics here over HTTP (default: nowhere)"),
    Option("allow_check_commands", "", "operation", "", bool,
           "let Services have this sidecar run programs as health checks (health.command); refused otherwise"),
    Option("log_level", "MESH_LOG_LEVEL", "operation", "LEVEL", values.log_level,
           "debug, info, warning or error (default: info)"),
    Option("ready_fd", "", "operation", "N", values.descriptor,
           "write one JSON line per state change (ready, drained) to this open file descriptor"),
)


class Usage(NamedTuple):
    """How a command that takes the sidecar's options presents itself."""

    prog: str
    synopsis: str
    description: str
    examples: str
    options: tuple[Option, ...] = OPTIONS


SIDECAR = Usage(
    "mesh sidecar", "mesh sidecar --service NAME [options]",
    "Carries the traffic of one service instance: accepts for its app, and takes the app's calls to other services.",
    """examples:
  mesh sidecar --service cart --app 50051
  mesh sidecar --service cart --instance cart-1 --app 50051 --inbound 0.0.0.0:7000 --advertise 10.0.0.7
  mesh sidecar --service web --outbound cart=15001 --outbound stock=15003/tcp --outbound-shared 15000
  mesh sidecar --config sidecar.yaml --drain-timeout 5s

Each option can also be set by its variable (MESH_SERVICE, MESH_APP, MESH_OUTBOUNDS ...) or in a file of YAML, TOML or
JSON (--config, MESH_CONFIG) under its name with '_' for '-'. Flags win over variables, variables over the file.
Signals: TERM drains and stops, USR1 drains inbound only, USR2 prints statistics to stderr.""")


class _Setting(NamedTuple):
    place: str
    raw: object


def load(argv: Sequence[str], environ: Mapping[str, str], usage: Usage = SIDECAR) -> SidecarConfig:
    """Return the configuration; raises InvalidConfig with one line that names the place.

    `--help` prints to stdout and raises SystemExit(0).
    """
    flags = _flags(argv, usage)
    settings: dict[str, list[_Setting]] = {}
    path = flags.pop("config", [None])[-1] or environ.get("MESH_CONFIG")
    if path:
        settings |= _from_file(path, usage.options)
    for option in usage.options:
        if option.variable and (value := environ.get(option.variable)):
            shown = f"{option.variable}: " if option.many else f"{option.variable}="
            settings[option.name] = [_Setting(f"{shown}{item}", item) for item in _items(option, [value])]
    for option in usage.options:
        if option.name in flags:
            settings[option.name] = [_Setting(f"{option.switch} {item}", item)
                                     for item in _items(option, flags[option.name])]
    return _build(settings, usage)


def _items(option: Option, texts: Iterable[str]) -> list[str]:
    if not option.many:
        return list(texts)[-1:]
    return [item.strip() for text in texts for item in text.split(",")]


def _build(settings: dict[str, list[_Setting]], usage: Usage) -> SidecarConfig:
    found: dict[str, Any] = {}
    for option in usage.options:
        if option.name in settings:
            parsed = tuple(_convert(setting, option.parse) for setting in settings[option.name])
            found[option.name] = parsed if option.many else parsed[0]
    if "service" not in found:
        raise InvalidConfig("--service: missing (or set MESH_SERVICE, or service in the file)")
    found.setdefault("instance", f"{found['service'][:61].rstrip('-')}-0")
    config = SidecarConfig(**found)
    _check(config, settings)
    return config


def _convert(setting: _Setting, parse: Callable[[object], Any]) -> Any:
    try:
        return parse(setting.raw)
    except ValueError as error:
        raise InvalidConfig(f"{setting.place}: {error}") from None


def _check(config: SidecarConfig, settings: dict[str, list[_Setting]]) -> None:
    """What no single value shows: duplicates, and an address nobody can call."""
    names: set[str] = set()
    taken: dict[tuple[int, bool], list[tuple[str, str]]] = {}  # the ports of TCP and of UDP have nothing in common
    for place, name, address, protocol in _listeners(config, settings):
        port = address.port, protocol is Protocol.UDP
        if name in names:
            raise InvalidConfig(f"{place}: {name} is given twice")
        names.add(name)
        for host, other in taken.get(port, ()) if address.port else ():
            if host == address.host or _wildcard(host) or _wildcard(address.host):
                raise InvalidConfig(f"{place}: port {address.port} is taken by {other}")
        taken.setdefault(port, []).append((address.host, name))
    _check_tls(config, settings)
    keys: set[str] = set()
    for setting, label in zip(settings.get("metadata", ()), config.metadata, strict=True):
        if label.key in keys:
            raise InvalidConfig(f"{setting.place}: {label.key} is given twice")
        keys.add(label.key)
    if config.app is not None and _wildcard(config.inbound.host) and config.advertise is None:
        raise InvalidConfig(f"{settings['inbound'][0].place}: callers can't reach {config.inbound.host}; "
                            "give --advertise HOST as well")
    if config.advertise is not None and _wildcard(config.advertise.host):
        raise InvalidConfig(f"{settings['advertise'][0].place}: callers can't reach {config.advertise.host}")


def _check_tls(config: SidecarConfig, settings: dict[str, list[_Setting]]) -> None:
    given = [name for name in ("tls_certificate", "tls_key", "tls_required") if getattr(config, name)]
    for name in given:
        place = settings[name][0].place
        if config.app is None:
            raise InvalidConfig(f"{place}: there is no app whose callers could speak TLS; give --app as well")
        if config.protocol is Protocol.UDP:
            raise InvalidConfig(f"{place}: there is no TLS over UDP")
        for other in ("tls_certificate", "tls_key"):
            if other not in given:
                raise InvalidConfig(f"{place}: give --{other.replace('_', '-')} as well")


def _listeners(config: SidecarConfig, settings: dict[str, list[_Setting]]
               ) -> Iterator[tuple[str, str, Address, Protocol | None]]:
    if config.app is not None:
        yield settings["app"][0].place, "the app", config.app, config.protocol
        yield (settings["inbound"][0].place if "inbound" in settings else "inbound", "inbound", config.inbound,
               config.protocol)
    if config.outbound_shared is not None:
        yield settings["outbound_shared"][0].place, "outbound-shared", config.outbound_shared, None
    if config.admin is not None:
        yield settings["admin"][0].place, "admin", config.admin, None
    for setting, outbound in zip(settings.get("outbound", ()), config.outbound, strict=True):
        yield setting.place, f"outbound {outbound.service}", outbound.address, outbound.protocol


def _wildcard(host: str) -> bool:
    return host in ("0.0.0.0", "::")


# ---- sources ------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidConfig(message.removeprefix("argument "))


def _flags(argv: Sequence[str], usage: Usage) -> dict[str, list[str]]:
    parser = _Parser(prog=usage.prog, usage=usage.synopsis, description=usage.description, epilog=usage.examples,
                     allow_abbrev=False, argument_default=argparse.SUPPRESS,
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in usage.options:
        group = groups.setdefault(option.group, parser.add_argument_group(option.group)) \
            if option.group not in groups else groups[option.group]
        note = f" [{option.variable}]" if option.variable else ""
        shown = (option.help + note).replace("%", "%%")
        if option.metavar:
            group.add_argument(option.switch, dest=option.name, metavar=option.metavar, action="append", help=shown)
        else:
            group.add_argument(option.switch, dest=option.name, action="append_const", const="true", help=shown)
    groups["operation"].add_argument("--config", metavar="FILE", action="append",
                                     help="read options from FILE: .yaml, .toml or .json [MESH_CONFIG]")
    found, unknown = parser.parse_known_args(list(argv))
    if unknown:
        word = unknown[0].partition("=")[0]
        if not word.startswith("-") or word == "--":
            raise InvalidConfig(f"{unknown[0]}: unexpected argument")
        known = [option.switch for option in usage.options] + ["--config", "--help"]
        raise InvalidConfig(f"{word}: no such flag{_hint(word, known)}")
    return vars(found)


def _from_file(path: str, options: Iterable[Option]) -> dict[str, list[_Setting]]:
    file = read_file(path)
    known = {option.name: option for option in options if option.variable}
    settings: dict[str, list[_Setting]] = {}
    for key, value in file.values.items():
        option = known.get(key)
        place = file.place(key)
        if option is None:
            raise InvalidConfig(f"{place}: no such option{_hint(key, list(known))}")
        if not option.many:
            settings[key] = [_Setting(place, value)]
        elif isinstance(value, dict):
            settings[key] = [_Setting(file.place(key, str(name)), f"{name}={item}") for name, item in value.items()]
        elif isinstance(value, list):
            settings[key] = [_Setting(place, item) for item in value]
        else:
            settings[key] = [_Setting(place, item) for item in value.split(",")] if isinstance(value, str) \
                else [_Setting(place, value)]
    return settings


def _hint(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def parse_addresses(place: str, raw: str) -> tuple[Address, ...]:
    """Return the addresses of a `HOST:PORT[,HOST:PORT]` list; InvalidConfig begins with `place`."""
    return tuple(_convert(_Setting(place, item), values.remote) for item in raw.split(","))


def to_argv(config: SidecarConfig) -> list[str]:
    """Return flags from which `load` makes the same configuration again, whatever file and environment say."""
    argv: list[str] = []
    by_name = {option.name: option for option in OPTIONS}
    for field in fields(config):
        value = getattr(config, field.name)
        if value is None or value is False or value == "" or value == ():
            continue
        if value is True:
            argv.append(by_name[field.name].switch)
            continue
        for item in value if by_name[field.name].many else (value,):
            shown: object = item.value if isinstance(item, Protocol) else item
            if isinstance(item, float) and by_name[field.name].parse is not values.ratio:
                shown = f"{item:g}s"
            argv += [by_name[field.name].switch, str(shown)]
    return argv
