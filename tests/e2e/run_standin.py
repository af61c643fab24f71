"""Stands in for the sidecar, or for the app, in the tests of `mesh run`; writes what happens to it to a log.

`run_standin.py LOG sidecar [flags]`; MODE: silent (never ready), exit2, fragile (each but the first ends at once), late
(each but the first is not ready), deaf (never drained). With --takeover it listens nowhere, and tells the one before it
to stop once it is ready.
`run_standin.py LOG app CODE`: on TERM it ends with CODE; "stubborn" ignores TERM; "now=N" ends now.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

log = Path(sys.argv[1])
role = sys.argv[2]


def note(*words: object) -> None:
    with log.open("a") as file:
        print(role, *words, file=file)


def flag(name: str, default: str = "") -> list[str]:
    return [value for key, value in zip(sys.argv, sys.argv[1:], strict=False) if key == name] or [default]


def listen(address: str) -> str:
    host, _, port = address.rpartition(":")
    if "--takeover" in sys.argv:
        return address
    sock = socket.create_server((host, int(port)))
    kept.append(sock)
    return f"{host}:{sock.getsockname()[1]}"


kept: list[socket.socket] = []


def sidecar() -> None:
    mode = os.environ.get("MODE", "")
    earlier = log.read_text().count("sidecar starts") if log.exists() else 0
    before = [int(line.split()[2]) for line in log.read_text().splitlines() if line.startswith("sidecar starts")] \
        if log.exists() else []
    note("starts", os.getpid(), os.getppid(), *(["--weight", *flag("--weight")] if "--takeover" in sys.argv else []))
    if mode == "exit2":
        sys.exit(2)
    if mode == "fragile" and earlier:
        sys.exit(3)
    ready = int(flag("--ready-fd")[0])

    def say(event: dict[str, object]) -> None:
        os.write(ready, (json.dumps(event) + "\n").encode())

    def drain(*_: object) -> None:
        note("drains")
        if mode != "deaf":
            time.sleep(0.05)
            say({"event": "drained"})

    def stop(*_: object) -> None:
        note("stops", os.getpid())
        sys.exit(0)

    signal.signal(signal.SIGUSR1, drain)
    signal.signal(signal.SIGTERM, stop)
    inbound = listen(flag("--inbound")[0]) if flag("--app")[0] else None
    outbound = {}
    for declared in flag("--outbound"):
        if declared:
            service, _, address = declared.partition("=")
            outbound[service] = listen(address.partition("/")[0])
    shared = flag("--outbound-shared")[0]
    note("ports", inbound, json.dumps(outbound))
    if mode == "late" and earlier:
        time.sleep(60)
    if mode != "silent":
        os.write(ready, b'{"event":"re')  # a line may come in pieces
        time.sleep(0.01)
        os.write(ready, f'ady","pid":{os.getpid()},'.encode())
        os.write(ready, json.dumps({"inbound": inbound, "outbound": outbound,
                                    "outbound_shared": listen(shared) if shared else None})[1:].encode() + b"\n")
    if "--takeover" in sys.argv:
        note("takes over from", before[-1])
        os.kill(before[-1], signal.SIGTERM)
    while True:
        signal.pause()


def app() -> None:
    code = sys.argv[3]
    note("starts", os.getpid(), os.getppid(),
         json.dumps({key: value for key, value in os.environ.items() if key.startswith("MESH_OUTBOUND")}))
    if code.startswith("now="):
        sys.exit(int(code[4:]))

    def stop(*_: object) -> None:
        note("stops")
        if code != "stubborn":
            sys.exit(int(code))

    def other(number: int, _: object) -> None:
        note("signal", signal.Signals(number).name)

    signal.signal(signal.SIGTERM, stop)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, other)
    note("is up")
    while True:
        signal.pause()


sidecar() if role == "sidecar" else app()
