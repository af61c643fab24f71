"""A mesh of real processes for the end-to-end tests: one control plane, apps, their sidecars.

What lives here: who is started with which flags, and waiting until news has arrived everywhere. What this must not
know: what a test asserts.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
from e2e_processes import App, Process, Sidecar, eventually
from google.protobuf.json_format import ParseDict

from mesh.v1 import endpoint_pb2, registry_pb2, registry_pb2_grpc, service_pb2, trace_pb2, trace_pb2_grpc

# grpcio of the tests: no retries of its own (the mesh's are counted), no limits, no shared connections.
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0),
           ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0), ("grpc.max_metadata_size", 65_536),
           ("grpc.absolute_max_metadata_size", 131_072)]


def service(name: str, protocol: str = "GRPC", **policies: dict[str, Any]) -> service_pb2.Service:
    """A Service from policies in proto3 JSON form: `service("cart", retry={"max_attempts": 1})`."""
    return ParseDict({"name": name, "protocol": f"PROTOCOL_{protocol}", **policies}, service_pb2.Service())


class Replica:
    """An app and its sidecar."""

    def __init__(self, app: App, sidecar: Sidecar) -> None:
        self.app = app
        self.sidecar = sidecar
        self.name = sidecar.instance

    def kill(self) -> None:
        """Both die at once, as when a machine does."""
        self.sidecar.kill()
        self.app.kill()


class Mesh:
    """Everything of one test module; `close()` ends it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[Process] = []
        self.stack = contextlib.ExitStack()
        self.control_plane = self._keep(Process(
            "controlplane", [sys.executable, "-m", "controlplane.command", "--data-dir", str(directory / "data"),
                             "--listen", "127.0.0.1:0"], directory))
        self.address: str = self.control_plane.ready["listen"]
        # After a restart it comes back where the sidecars look for it.
        self.control_plane.argv += ["--listen", self.address]
        channel = self.stack.enter_context(grpc.insecure_channel(self.address, [
            *OPTIONS, ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]))
        self.registry = registry_pb2_grpc.RegistryServiceStub(channel)
        self.traces = trace_pb2_grpc.TraceQueryServiceStub(channel)

    def _keep(self, process: Any) -> Any:
        self.processes.append(process)
        return process

    def close(self) -> None:
        """Stop sidecars before apps before the control plane; what doesn't stop is killed."""
        self.stack.close()
        try:
            sidecars = [process for process in self.processes if isinstance(process, Sidecar)]
            for sidecar in sidecars:
                sidecar.signal(signal.SIGTERM)  # all at once: each takes its time
            codes = {sidecar.name: sidecar.wait_end() for sidecar in sidecars}
            self.control_plane.stop()
            failed = {name: code for name, code in codes.items() if code not in (0, -signal.SIGKILL)}
            assert not failed, f"exit codes after SIGTERM: {failed}"
        finally:
            for process in self.processes:
                process.kill()

    def check_nothing_is_left(self) -> None:
        """After the traffic no sidecar has a request or a connection's stream open."""
        for process in self.processes:
            if isinstance(process, Sidecar) and process.alive:
                process.wait_idle()

    def app(self, name: str, *flags: str, kind: str = "grpc") -> App:
        app: App = self._keep(App(kind, name, self.directory, *flags))
        return app

    def sidecar(self, service: str, instance: str, *flags: str, app: App | None = None, protocol: str = "grpc",
                outbound: Iterable[str] = (), shared: bool = False, env: dict[str, str] | None = None,
                control_plane: str = "") -> Sidecar:
        """Start a sidecar. `outbound` are service names, each optionally with `/protocol`."""
        arguments = list(flags)
        if app is not None:
            arguments += ["--app", app.address, "--protocol", protocol]
        for name in outbound:
            service_name, slash, declared = name.partition("/")
            arguments += ["--outbound", f"{service_name}=127.0.0.1:0{slash}{declared}"]
        if shared:
            arguments += ["--outbound-shared", "127.0.0.1:0"]
        sidecar: Sidecar = self._keep(Sidecar(service, instance, self.directory, control_plane or self.address,
                                              *arguments, env=env))
        return sidecar

    def replicas(self, service: str, count: int, *app_flags: str, kind: str = "grpc", protocol: str = "grpc",
                 weights: Sequence[int] = (), sidecar_flags: Sequence[str] = ()) -> list[Replica]:
        """Start `count` instances `<service>-<n>` and wait until they are registered."""
        made = []
        for n in range(count):
            name = f"{service}-{n}"
            app = self.app(name, *app_flags, kind=kind)
            flags = [*sidecar_flags, *(("--weight", str(weights[n])) if weights else ())]
            made.append(Replica(app, self.sidecar(service, name, *flags, app=app, protocol=protocol)))
        self.wait_registered(service, {replica.name for replica in made})
        return made

    # -- registry

    def apply(self, *services: service_pb2.Service, endpoints: Iterable[endpoint_pb2.Endpoint] = ()) -> int:
        request = registry_pb2.ApplyRequest(services=services, endpoints=endpoints)
        revision: int = self.registry.Apply(request, timeout=5, wait_for_ready=True).revision
        return revision

    def registered(self, service: str) -> dict[str, endpoint_pb2.Endpoint]:
        """The endpoints by name; none also while there is no such service."""
        try:
            listed = self.registry.ListEndpoints(registry_pb2.ListEndpointsRequest(service=service), timeout=5,
                                                 wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return {}
            raise
        return {status.endpoint.name: status.endpoint for status in listed.endpoints}

    def wait_registered(self, service: str, names: set[str], timeout: float = 15.0) -> None:
        eventually(lambda: set(self.registered(service)) == names, f"{service} has the endpoints {sorted(names)}",
                   timeout)

    def set_weights(self, service: str, **weights: int) -> None:
        """Weights by endpoint name with `_` for `-`."""
        self.registry.SetWeights(registry_pb2.SetWeightsRequest(
            service=service, weights={name.replace("_", "-"): weight for name, weight in weights.items()}), timeout=5)

    def wait_seen(self, sidecar: Sidecar, service: str, timeout: float = 10.0) -> None:
        """Wait until `sidecar` has the endpoints of `service` in force that the registry has, weights included."""
        def seen() -> bool:
            want = {name: endpoint.weight if endpoint.HasField("weight") else 1
                    for name, endpoint in self.registered(service).items()}
            return {name: node["weight"] for name, node in sidecar.endpoints(service).items()} == want

        eventually(seen, f"{sidecar.id} knows the endpoints of {service}", timeout)

    def sidecar_status(self, sidecar_id: str) -> registry_pb2.SidecarStatus | None:
        listed = self.registry.ListSidecars(registry_pb2.ListSidecarsRequest(), timeout=5, wait_for_ready=True)
        return next((status for status in listed.sidecars if status.id == sidecar_id), None)

    # -- traces

    def trace(self, trace_id: str, spans: int, timeout: float = 10.0) -> list[trace_pb2.TraceSpan]:
        """The spans of a trace once there are `spans` of them."""
        found: list[trace_pb2.TraceSpan] = []

        def complete() -> bool:
            try:
                found[:] = self.traces.GetTrace(trace_pb2.GetTraceRequest(trace_id=trace_id), timeout=5).spans
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            return len(found) >= spans

        try:
            eventually(complete, f"trace {trace_id} has {spans} spans", timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n" + "\n".join(f"{span.kind} {span.name} of {span.service}" for span in found)
                               ) from None
        return found
