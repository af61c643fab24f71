"""Mixed load for a long time through real sidecars, with endpoints that come and go and callers that give up.

    python tests/bench/soak.py [--minutes 20] [--seed 1] [--json FILE]

A control plane, three instances each of a gRPC, a TCP and an HTTP/1.1 service with their sidecars, one caller's
sidecar. Stock clients check every byte. Prints the slope of every process's resident memory, failures by reason and
whether an injected event explains them, and what is still open once all is quiet. No number makes it fail.

What lives here: the composition and the tables. Calls, events and figures are in soak_calls, soak_faults, soak_figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e"), str(ROOT)]

import e2e_processes  # noqa: E402
import soak_calls  # noqa: E402
import soak_figures  # noqa: E402
from e2e_mesh import Mesh, Replica, service  # noqa: E402
from e2e_processes import Process, Sidecar  # noqa: E402
from soak_faults import Faults  # noqa: E402

from mesh.v1 import service_pb2  # noqa: E402

REPLICAS = 3
SAMPLE_EVERY = 2.0
QUIET = 30.0  # seconds for everything to be closed once the load has ended
THREADS = {soak_calls.GrpcThread: 6, soak_calls.TcpThread: 3, soak_calls.HttpThread: 4}
PER_SECOND = 30.0  # calls of one thread, at most
TOLD = 50  # failures shown one by one, at most


class HttpApp(e2e_processes.App):
    """The HTTP/1.1 app, which lives here instead of among the end-to-end tests' apps."""

    def __init__(self, name: str, directory: Path) -> None:
        self.label = name
        Process.__init__(self, f"app-{name}", [sys.executable, str(HERE / "soak_http.py"), "--name", name], directory)
        self.port = int(self.ready["port"])
        self.argv += ["--port", str(self.port)]
        self.address = f"127.0.0.1:{self.port}"


class Watch(threading.Thread):
    """Resident memory of every process of ours, every two seconds."""

    def __init__(self, mesh: Mesh, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.mesh = mesh
        self.stop = stop
        self.samples: dict[tuple[str, int], list[tuple[float, float]]] = {}

    def run(self) -> None:
        while not self.stop.wait(SAMPLE_EVERY):
            now = time.monotonic()
            for process in self.mesh.processes:
                if process.name.startswith("app-") or not process.alive:
                    continue
                try:
                    kib = float(process.resident_kib())
                except (OSError, StopIteration):  # it has just ended
                    continue
                self.samples.setdefault((process.name, process.pid), []).append((now, kib))


def http1_known() -> bool:
    return "PROTOCOL_HTTP1" in service_pb2.Protocol.keys()  # noqa: SIM118  (an enum, not a mapping)


def start(mesh: Mesh, logged: bool) -> tuple[dict[str, list[Replica]], Sidecar, list[str]]:
    """Services, the caller's sidecar, and what is left out. `logged`: the caller's sidecar keeps an access log."""
    mesh.apply(service("echo"), service("stock", "TCP"))
    services = {"echo": mesh.replicas("echo", REPLICAS),
                "stock": mesh.replicas("stock", REPLICAS, kind="tcp", protocol="tcp")}
    outbound, missing = ["echo", "stock/tcp"], []
    if http1_known():
        mesh.apply(service("web", "HTTP1"))
        services["web"] = []
        for number in range(REPLICAS):
            app = HttpApp(f"web-{number}", mesh.directory)
            mesh.processes.append(app)
            services["web"].append(Replica(app, mesh.sidecar("web", f"web-{number}", app=app, protocol="http1")))
        mesh.wait_registered("web", {f"web-{number}" for number in range(REPLICAS)})
        outbound.append("web")
    else:
        missing.append("HTTP/1.1: the sidecar of this tree has none")
    log = ("--access-log", str(mesh.directory / "front-0.access.jsonl")) if logged else ()
    front = mesh.sidecar("front", "front-0", *log, outbound=outbound)
    for name in services:
        mesh.wait_seen(front, name)
    return services, front, missing


def threads(front: Sidecar, services: dict[str, list[Replica]], tally: soak_calls.Tally, stop: threading.Event,
            seed: int) -> list[soak_calls.Thread]:
    made: list[soak_calls.Thread] = []
    for kind, count in THREADS.items():
        if kind.service in services:
            target = front.outbound(kind.service)
            made += [kind(target, tally, stop, seed * 1000 + len(made) + n, PER_SECOND) for n in range(count)]
    return made


def open_things(sidecar: Sidecar) -> dict[str, int]:
    """What a sidecar holds: descriptors, transports, timers, and all that has to be zero without calls."""
    found = {"descriptors": sidecar.descriptors()}
    statistics = sidecar.statistics()
    found.update({key: statistics[key] for key in ("transports", "timers") if isinstance(statistics.get(key), int)})
    found.update(sidecar.in_use())
    return found


def quiet(sidecar: Sidecar, before: dict[str, int] | None) -> dict[str, int]:
    """What is open once nothing changes any more, or `QUIET` seconds after the load's end."""
    deadline = time.monotonic() + QUIET
    last: dict[str, int] = {}
    while True:
        now = open_things(sidecar)
        if time.monotonic() > deadline or (
                not soak_figures.left_over(before, now) if before is not None else now == last):
            return now
        last = now
        time.sleep(1.0)


def one_of_each(front: Sidecar, services: dict[str, list[Replica]], seed: int) -> None:
    """Every kind of call for two seconds, so that what stays open by design is open before and after."""
    stop = threading.Event()
    run = threads(front, services, soak_calls.Tally(), stop, seed)
    for thread in run:
        thread.start()
    stop.wait(2.0)
    stop.set()
    for thread in run:
        thread.join(soak_calls.TIMEOUT + 5)


def heal(mesh: Mesh, services: dict[str, list[Replica]], front: Sidecar) -> None:
    for name, replicas in services.items():
        mesh.set_weights(name, **{replica.name.replace("-", "_"): 1 for replica in replicas})
        mesh.wait_registered(name, {replica.name for replica in replicas}, 30)
        mesh.wait_seen(front, name, 30)


def soak(args: argparse.Namespace, directory: Path) -> dict[str, Any]:
    begun = time.monotonic()
    mesh = Mesh(directory)
    stop, end_faults = threading.Event(), threading.Event()
    tally = soak_calls.Tally()
    try:
        services, front, missing = start(mesh, args.keep is not None)
        for line in missing:
            print(f"left out: {line}")
        steady = {"front-0": front, **{replicas[0].name: replicas[0].sidecar for replicas in services.values()}}
        one_of_each(front, services, args.seed)
        before = {name: quiet(sidecar, None) for name, sidecar in steady.items()}
        resident = {name: sidecar.resident_kib() for name, sidecar in steady.items()}
        watch = Watch(mesh, stop)
        faults = Faults(mesh, services, end_faults, args.seed, args.interval)
        run = threads(front, services, tally, stop, args.seed)
        print(f"{len(run)} callers, {len(mesh.processes)} processes, an event every {args.interval:g} s or so, "
              f"{args.minutes:g} minutes from now (set up in {time.monotonic() - begun:.0f} s)", flush=True)
        for thread in (watch, faults, *run):
            thread.start()
        started, started_unix = time.monotonic(), time.time()
        while (passed := time.monotonic() - started) < args.minutes * 60 and not faults.problem:
            time.sleep(min(args.tell, max(0.1, args.minutes * 60 - passed)))
            tell(tally, faults, time.monotonic() - started, front)
        end_faults.set()
        faults.join(60)
        stop.set()
        for thread in run:
            thread.join(soak_calls.TIMEOUT + 5)
        took = time.monotonic() - started
        heal(mesh, services, front)
        one_of_each(front, services, args.seed + 1)
        after = {name: quiet(sidecar, before[name]) for name, sidecar in steady.items()}
        result = {
            "minutes": took / 60, "seed": args.seed, "started_unix": started_unix, "left_out": missing,
            "done": dict(tally.done),
            "abandoned": dict(tally.abandoned), "problem": faults.problem,
            "events": [asdict(replace(event, at=event.at - started)) for event in faults.events],
            "unexplained": [asdict(replace(failure, started=failure.started - started, ended=failure.ended - started))
                            for failure in tally.failures if not soak_figures.explanation(failure, faults.events)],
            "failures": [{"kind": kind, "reason": reason, "explained": by, "count": count} for (kind, reason, by), count
                         in sorted(soak_figures.sort_failures(tally.failures, faults.events).items())],
            "memory": [asdict(life) for life in soak_figures.lives(
                watch.samples, min(300.0, took * 0.25), min(180.0, took * 0.4))],
            "open": {name: {"before": before[name], "after": after[name],
                            "left": soak_figures.left_over(before[name], after[name]),
                            "resident_kib": [resident[name], steady[name].resident_kib()]} for name in steady}}
    finally:
        stop.set()
        end_faults.set()
        try:
            mesh.close()
        except AssertionError as error:
            print(f"at the end: {error}", file=sys.stderr)
    return result


def tell(tally: soak_calls.Tally, faults: Faults, passed: float, front: Sidecar) -> None:
    with tally.lock:
        failures = list(tally.failures)
    unexplained = sum(not soak_figures.explanation(failure, faults.events) for failure in failures)
    print(f"{passed / 60:6.1f} min  {tally.total():9,} calls  {len(failures):5} failed, {unexplained} of them "
          f"unexplained  {len(faults.events):4} events  front {front.resident_kib() / 1024:.1f} MB", flush=True)


def print_result(result: dict[str, Any]) -> None:
    print(f"\n{result['minutes']:.1f} minutes, seed {result['seed']}")
    print(f"\n{'calls':24}{'done':>10}{'given up':>10}")
    for kind in sorted({*result["done"], *result["abandoned"]}):
        print(f"  {kind:22}{result['done'].get(kind, 0):>10,}{result['abandoned'].get(kind, 0):>10,}")
    events: dict[str, int] = {}
    for event in result["events"]:
        events[event["what"]] = events.get(event["what"], 0) + 1
    print(f"\nevents: {', '.join(f'{count} × {what}' for what, count in sorted(events.items())) or 'none'}")
    print("\nfailures")
    for failure in result["failures"]:
        print(f"  {failure['count']:>6}  {failure['kind']:22}{failure['reason']:60}"
              f"{failure['explained'] or 'UNEXPLAINED'}")
    unexplained = sum(failure["count"] for failure in result["failures"] if not failure["explained"])
    print(f"  {unexplained} unexplained of {sum(failure['count'] for failure in result['failures'])}")
    for failure in result["unexplained"][:TOLD]:
        print(f"  at {failure['started']:9.3f} to {failure['ended']:9.3f} s: {failure['kind']}, {failure['reason']}")
        for event in result["events"]:
            if -5 < event["at"] - failure["started"] < 1:
                print(f"    {event['at']:9.3f} s {event['what']} of {event['service']}")
    print(f"\n{'resident memory':32}{'minutes':>8}{'first MB':>10}{'last MB':>10}{'KiB/min':>10}"
          f"{'later half':>12}")
    for life in result["memory"]:
        print(f"  {life['name']:30}{life['minutes']:8.1f}{life['first_kib'] / 1024:10.1f}"
              f"{life['last_kib'] / 1024:10.1f}{life['kib_per_minute']:10.1f}{life['later']:12.1f}")
    print("\nopen when quiet, where it is more than before")
    for name, found in result["open"].items():
        left = ", ".join(f"{key} {was} -> {now}" for key, (was, now) in found["left"].items())
        was, now = (kib / 1024 for kib in found["resident_kib"])
        print(f"  {name:14}{left or 'nothing'}; resident memory {was:.1f} -> {now:.1f} MB")
    if result["problem"]:
        print(f"\nended early: {result['problem']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1, help="of events, sizes and choices (default: 1)")
    parser.add_argument("--interval", type=float, default=10.0, help="seconds from event to event (default: 10)")
    parser.add_argument("--tell", type=float, default=30.0, help="seconds from line to line (default: 30)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything there")
    parser.add_argument("--keep", type=Path, metavar="DIR",
                        help="keep what the processes wrote, and an access log of the caller's sidecar, there")
    args = parser.parse_args()
    if args.minutes <= 0 or args.interval <= 0 or args.tell <= 0:
        parser.error("--minutes, --interval and --tell must be positive")
    with contextlib.ExitStack() as stack:
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            directory = args.keep.resolve()
        else:
            directory = Path(stack.enter_context(
                tempfile.TemporaryDirectory(prefix="mesh-soak-", ignore_cleanup_errors=True)))
        result = soak(args, directory)
    print_result(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
