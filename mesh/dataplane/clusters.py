"""All services this sidecar has heard of or been asked for.

What lives here: the table of clusters, fed by discovery and asked by name or by `:authority`; a service is subscribed
to when it is first wanted. What this must not know: how discovery works, what a cluster does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mesh.balance.factory import check_policy
from mesh.balance.subset import Caller
from mesh.dataplane.checker import Checker
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.hub import Hub
from mesh.errors import InvalidResource
from mesh.model import Endpoint, Service, Verdict, VerdictKind
from mesh.route.authority import service_of

if TYPE_CHECKING:
    from mesh.dataplane.custom import OwnPolicies

# A caller that makes names up must not fill the memory: what turned out not to exist is forgotten beyond this many.
MAX_CLUSTERS = 1000


class Clusters:
    """`subscribe(name)` is called when a service is wanted for the first time.

    `unsubscribe(name)` when it is forgotten.
    """

    def __init__(self, hub: Hub, subscribe: Callable[[str], None], unsubscribe: Callable[[str], None],
                 caller: Caller | None = None, checker: Checker | None = None,
                 on_verdicts: Callable[[], object] | None = None, policies: OwnPolicies | None = None) -> None:
        self._hub = hub
        self._checker = checker
        self._on_verdicts = on_verdicts
        self._caller = caller or Caller()
        self._policies = policies
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self._pinned: set[str] = set()
        self._clusters: dict[str, Cluster] = {}
        self._by_authority: dict[bytes, Cluster] = {}

    def get(self, name: str, called: bool = True) -> Cluster:
        """The service's cluster; it may not be known yet. `called`: not only for what its policies say."""
        cluster = self._clusters.get(name)
        if cluster is None:
            if len(self._clusters) >= MAX_CLUSTERS:
                self._forget_missing()
            cluster = self._clusters[name] = Cluster(self._hub, name, self._caller, policies=self._policies)
            cluster.on_verdicts = self._on_verdicts
            if called:
                cluster.checker = self._checker
            self._subscribe(name)
        elif called and cluster.checker is None and self._checker is not None:
            cluster.checker = self._checker
            self._checker.heed(cluster)
        return cluster

    def find(self, name: str) -> Cluster | None:
        """The service's cluster, None where nobody has wanted it so far."""
        return self._clusters.get(name)

    def pin(self, name: str, called: bool = True) -> Cluster:
        """As `get`, for a service that a port was declared for: never forgotten, whether it exists or not."""
        self._pinned.add(name)
        return self.get(name, called)

    def cluster_for(self, authority: bytes | None) -> Cluster | None:
        """The cluster that an `:authority` names; None when it can't be a service, or too many names are known."""
        if authority is None:
            return None
        cluster = self._by_authority.get(authority)
        if cluster is None:
            name = service_of(authority)
            if name is None or (name not in self._clusters and len(self._clusters) >= 2 * MAX_CLUSTERS):
                return None
            cluster = self.get(name)
            if len(self._by_authority) >= 4 * MAX_CLUSTERS:
                self._by_authority.clear()
            self._by_authority[authority] = cluster
        return cluster

    def on_service(self, name: str, service: Service | None) -> None:
        """Discovery: the policies of a service, or None when there is no such service."""
        cluster = self._clusters.get(name)
        if cluster is not None:
            cluster.update_service(service)
            self._hub.flush()

    def in_force(self, name: str, version: str) -> None:
        """Discovery: the version of the service that was told of last."""
        cluster = self._clusters.get(name)
        if cluster is not None:
            cluster.version = version

    def on_endpoints(self, name: str, endpoints: Mapping[str, Endpoint]) -> None:
        """Discovery: all endpoints of a service."""
        service, _, instance = self._caller.name.partition("/")
        if name == service:
            self._take_position(sorted(endpoints), instance)
        cluster = self._clusters.get(name)
        if cluster is not None:
            cluster.hear_endpoints(endpoints)

    def check(self, resource: Service | Endpoint) -> None:
        """Discovery asks whether a resource can be used; InvalidResource where what the values allow is beyond this
        sidecar."""
        if isinstance(resource, Service):
            try:
                check_policy(resource.balance)
            except InvalidResource as error:
                raise error.under("balance") from None
            cluster = self._clusters.get(resource.name)
            if (resource.health.command is not None and cluster is not None and cluster.checker is not None
                    and not cluster.checker.allow_commands):
                raise InvalidResource("health.command", "this sidecar runs no commands; its operator would have to "
                                                        "allow it (--allow-check-commands)")

    def _take_position(self, fleet: list[str], instance: str) -> None:
        """Stand where this sidecar's rank in its own service says; a stranger to it at the hash of its name."""
        position = (fleet.index(instance) + 0.5) / len(fleet) if instance in fleet else None
        self._caller = replace(self._caller, position=position)
        for cluster in self._clusters.values():
            cluster.move(self._caller)

    def _forget_missing(self) -> None:
        for name, cluster in list(self._clusters.items()):
            if cluster.known() and cluster.service is None and name not in self._pinned:
                del self._clusters[name]
                self._unsubscribe(name)
        self._by_authority.clear()

    def close(self) -> None:
        """Retire every upstream connection, and check nothing any more."""
        if self._checker is not None:
            self._checker.close()
        for cluster in self._clusters.values():
            cluster.close()
        self._hub.flush()

    def verdicts(self) -> dict[tuple[str, VerdictKind], Verdict]:
        """What this sidecar has against endpoints now, of all services; what is newest first."""
        found = [verdict for cluster in self._clusters.values() for verdict in cluster.verdicts()]
        found.sort(key=lambda verdict: -verdict.since)
        return {(verdict.endpoint, verdict.kind): verdict for verdict in found}

    def custom_statistics(self) -> dict[str, dict[str, Any]]:
        """What has become of services' own policies, by service."""
        found = {name: cluster.custom_statistics() for name, cluster in self._clusters.items()}
        return {name: statistics for name, statistics in found.items() if statistics is not None}

    def statistics(self) -> list[dict[str, Any]]:
        return [cluster.statistics() for cluster in self._clusters.values()]
