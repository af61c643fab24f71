"""What this sidecar has asked the registry for, what it was told, and what it answers.

What lives here: the sidecar's half of discovery as a state machine without I/O; `proto/mesh/v1/discovery.proto` is its
specification. What this must not know: streams, clocks, disks, what a service is used for (the sink decides that).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from mesh.discovery.decode import ENDPOINT_TYPE, SERVICE_TYPE, decode_endpoint, decode_service, one_line
from mesh.errors import INVALID_ARGUMENT, InvalidResource
from mesh.model import Endpoint, Service
from mesh.xds.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource, Status

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where accepted state goes. `check` refuses a single resource by raising InvalidResource. The other two are called
    at most once per service and response; if one raises, all that the response said of that service is refused, and the
    state before it stays in force: it must not have changed anything.
    """

    def check(self, resource: Service | Endpoint) -> None:
        """Raise InvalidResource for what this sidecar can't use."""

    def on_service(self, name: str, service: Service | None) -> None:
        """`service` is in force from now on; None: there is none of this name."""

    def in_force(self, name: str, version: str) -> None:
        """What `on_service` was told last has this version, and was accepted."""

    def on_endpoints(self, service: str, endpoints: Mapping[str, Endpoint]) -> None:
        """All endpoints of `service`, by endpoint name."""


class Refusal(NamedTuple):
    """A version that was not accepted, and why (one line)."""

    version: str
    reason: str


class _Type:
    """One resource type: names wanted, names sent on the present stream (and no longer wanted), resources in force,
    services answered for.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.wanted: dict[str, None] = {}
        self.started = False
        self.sent: set[str] = set()
        self.dropped: dict[str, None] = {}
        self.held: dict[str, Resource] = {}
        self.answered: set[str] = set()

    def request(self, node: Node | None) -> DeltaDiscoveryRequest | None:
        """What the stream doesn't know of yet; the first request of a stream says which versions are in force."""
        names = [name for name in self.wanted if name not in self.sent]
        if not names and not self.dropped:
            return None
        versions = {} if self.started else {name: resource.version for name, resource in self.held.items()}
        request = DeltaDiscoveryRequest(node=node, type_url=self.url, resource_names_subscribe=names,
                                        resource_names_unsubscribe=self.dropped, initial_resource_versions=versions)
        self.started = True
        self.sent.update(names)
        self.dropped.clear()
        return request

    def restart(self) -> None:
        """A new stream: nothing has been sent on it."""
        self.started = False
        self.sent.clear()
        self.dropped.clear()

    def want(self, name: str) -> None:
        """Ask for `name`; one that was just dropped is asked for as if it were new, so that it comes again."""
        self.wanted[name] = None
        self.dropped.pop(name, None)

    def drop(self, name: str, service: str) -> None:
        """Ask no more for `name`, which is `service` or its collection, and forget what there was of it."""
        del self.wanted[name]
        if name in self.sent:
            self.sent.discard(name)
            self.dropped[name] = None
        self.answered.discard(service)
        for held in [held for held in self.held if held.partition("/")[0] == service]:
            del self.held[held]


class Subscription:
    """The state of one sidecar's discovery. `node` is `<service>/<instance>`, `build` the sidecar's version.

    `generation` grows whenever what is in force changes; `refusals` is what is refused at present, by resource name.
    `needs_new_stream`: resources came into force that the present stream was never told of, so that the registry can't
    say which of them are gone.
    """

    def __init__(self, node: str, build: str, sink: Sink) -> None:
        self._node: Node | None = Node(id=node, user_agent_name="mesh-sidecar", user_agent_version=build)
        self._introduced = False
        self._sink = sink
        self._services = _Type(SERVICE_TYPE)
        self._endpoints = _Type(ENDPOINT_TYPE)
        self._sets: dict[str, dict[str, Endpoint]] = {}
        self._shelf: dict[str, list[Resource]] = {}
        self.refusals: dict[str, Refusal] = {}
        self.generation = 0
        self.needs_new_stream = False

    def restore(self, resources: Iterable[Resource]) -> None:
        """Keep what an earlier run had in force, for when its service is subscribed to."""
        for resource in resources:
            self._shelf.setdefault(resource.name.partition("/")[0], []).append(resource)

    def saved(self) -> Iterator[Resource]:
        """Everything in force, and what `restore` was given and nobody has asked for yet."""
        yield from self._services.held.values()
        yield from self._endpoints.held.values()
        for resources in self._shelf.values():
            yield from resources

    def subscribe(self, service: str) -> bool:
        """Ask for a service and its endpoints; False when that was done before. What was restored is used at once."""
        if service in self._services.wanted:
            return False
        self._services.want(service)
        self._endpoints.want(f"{service}/*")
        shelf, generation = self._shelf.pop(service, []), self.generation
        for url, take in ((SERVICE_TYPE, self._take_services), (ENDPOINT_TYPE, self._take_endpoints)):
            resources = [resource for resource in shelf if resource.resource.type_url == url]
            if resources:
                take(resources, ())
                self.needs_new_stream = self.needs_new_stream or self._services.started
        self.generation = generation  # it is saved already
        if service in self._services.held:  # with no endpoint on the shelf it had none
            self._services.answered.add(service)
            self._endpoints.answered.add(service)
        return True

    def unsubscribe(self, service: str) -> bool:
        """Ask no more for a service and forget it; False when nobody had asked. The sink hears nothing of it."""
        if service not in self._services.wanted:
            return False
        self._services.drop(service, service)
        self._endpoints.drop(f"{service}/*", service)
        self._sets.pop(service, None)
        self.refusals = {name: why for name, why in self.refusals.items() if name.partition("/")[0] != service}
        self.generation += 1
        return True

    def known(self, service: str) -> bool:
        """Whether the registry (or the state of an earlier run) has said what there is of this service, if anything."""
        return service in self._services.answered and service in self._endpoints.answered

    def versions(self, service: str) -> tuple[str, str]:
        """Return the version in force of a service, and the newest of its endpoints; "" where there is none."""
        held = self._services.held.get(service)
        newest = max((int(resource.version) for name, resource in self._endpoints.held.items()
                      if name.partition("/")[0] == service and resource.version.isdecimal()), default=None)
        return "" if held is None else held.version, "" if newest is None else str(newest)

    def opened(self) -> None:
        """A new stream: nothing has been sent on it."""
        self._introduced = self.needs_new_stream = False
        self._services.restart()
        self._endpoints.restart()

    def requests(self) -> list[DeltaDiscoveryRequest]:
        """What to send now, in order; empty when the stream has been told everything."""
        out: list[DeltaDiscoveryRequest] = []
        for kind in (self._services, self._endpoints):
            request = kind.request(None if self._introduced else self._node)
            if request is not None:
                self._introduced = True
                out.append(request)
        return out

    def receive(self, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest | None:
        """Put a response in force as far as possible and return its ACK or NACK. None: a type that nobody asked for."""
        if response.type_url not in (SERVICE_TYPE, ENDPOINT_TYPE):
            _log.warning("discovery: ignored a response of unknown type %r", response.type_url)
            return None
        kind, take = ((self._services, self._take_services) if response.type_url == SERVICE_TYPE
                      else (self._endpoints, self._take_endpoints))
        refused = take(response.resources, response.removed_resources)
        versions = dict.fromkeys(response.removed_resources, "")
        versions |= {resource.name: resource.version for resource in response.resources}
        for name, version in versions.items():
            kind.answered.add(name.partition("/")[0])
            self.refusals.pop(name, None)
            if name in refused:
                self.refusals[name] = Refusal(version, refused[name])
        answer = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if refused:
            lines = "\n".join(f"{name}: {reason}" for name, reason in refused.items())
            answer.error_detail.CopyFrom(Status(code=INVALID_ARGUMENT, message=lines))
        return answer

    def _take_services(self, resources: Iterable[Resource], removed: Iterable[str]) -> dict[str, str]:
        kind = self._services
        refused: dict[str, str] = {}
        for resource in resources:
            if resource.name in kind.wanted:
                reason = self._reason(lambda: self._accept_service(resource))  # noqa: B023  called at once
                if reason:
                    refused[resource.name] = reason
        for name in removed:
            if name in kind.held or (name in kind.wanted and name not in kind.answered):
                self._reason(lambda: self._sink.on_service(name, None))  # noqa: B023  called at once
                kind.held.pop(name, None)
                self.generation += 1
        return _logged(refused)

    def _accept_service(self, resource: Resource) -> None:
        service = decode_service(resource)
        self._sink.check(service)
        self._sink.on_service(service.name, service)
        self._services.held[service.name] = resource
        self._sink.in_force(service.name, resource.version)
        self.generation += 1

    def _take_endpoints(self, resources: Iterable[Resource], removed: Iterable[str]) -> dict[str, str]:
        kind = self._endpoints
        refused: dict[str, str] = {}
        changes: dict[str, dict[str, tuple[Resource, Endpoint] | None]] = {}  # by service and resource; None: gone
        for resource in resources:
            service = resource.name.partition("/")[0]
            if f"{service}/*" in kind.wanted:
                changed = changes.setdefault(service, {})
                reason = self._reason(lambda: self._check_endpoint(resource, changed))  # noqa: B023  called at once
                if reason:
                    refused[resource.name] = reason
        for name in removed:
            service, _, endpoint = name.partition("/")
            if f"{service}/*" in kind.wanted:
                gone = self._sets.get(service, {}) if endpoint == "*" else (endpoint,)
                changes.setdefault(service, {}).update({f"{service}/{each}": None for each in gone})
        for service, changed in changes.items():
            if changed or service not in kind.answered:
                reason = self._reason(lambda: self._accept_endpoints(service, changed))  # noqa: B023  called at once
                if reason:
                    refused |= {name: reason for name, state in changed.items() if state is not None}
        return _logged(refused)

    def _check_endpoint(self, resource: Resource, changed: dict[str, tuple[Resource, Endpoint] | None]) -> None:
        endpoint = decode_endpoint(resource)
        self._sink.check(endpoint)
        changed[resource.name] = resource, endpoint

    def _accept_endpoints(self, service: str, changed: Mapping[str, tuple[Resource, Endpoint] | None]) -> None:
        after = dict(self._sets.get(service, {}))
        for name, state in changed.items():
            if state is None:
                after.pop(name.partition("/")[2], None)
            else:
                after[state[1].name] = state[1]
        self._sink.on_endpoints(service, after)
        self._sets[service] = after
        for name, state in changed.items():
            if state is None:
                self._endpoints.held.pop(name, None)
            else:
                self._endpoints.held[name] = state[0]
        self.generation += 1

    def _reason(self, apply: Callable[[], None]) -> str:
        """Why `apply` refused, "" when it didn't. A fault of ours in one resource must not stop the others."""
        try:
            apply()
        except InvalidResource as exc:
            return one_line(str(exc)) or "refused"
        except Exception as exc:
            _log.exception("discovery: applying a resource failed")
            return one_line(f"internal error: {exc!r}")
        return ""


def _logged(refused: dict[str, str]) -> dict[str, str]:
    for name, reason in refused.items():
        _log.warning("discovery: refused %s: %s", name, reason)
    return refused
