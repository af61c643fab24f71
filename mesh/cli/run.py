"""`mesh run`: an app together with its sidecar.

What lives here: the command line, and what the app is told of its sidecar. What this must not know: how the two are
kept alive and stopped (supervisor). No click, no gRPC: this process stays beside the app as long as it runs.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mesh.cli.supervisor import Supervisor
from mesh.errors import InvalidConfig
from mesh.sidecar.config import OPTIONS, Usage, load

# -P: the app's directory is no place to import from.
SIDECAR = (sys.executable, "-P", str(Path(__file__).with_name("__main__.py")), "sidecar")

RUN = Usage(
    "mesh run", "mesh run --service NAME [--port PORT] [options] -- COMMAND...",
    "Runs COMMAND with a sidecar: the sidecar is ready first, and drained and stopped last.",
    """examples:
  mesh run --service cart --port 50051 -- python cart.py
  mesh run --service stock --port 6380 --protocol tcp -- redis-server --port 6380
  mesh run --service web --port 8080 --outbound cart=15001,stock=15003/tcp -- ./web
  mesh run --service job --outbound cart=0 -- sh -c 'call $MESH_OUTBOUND_CART'

COMMAND finds the sidecar in its environment: MESH_OUTBOUND_<SERVICE>=host:port for each --outbound (upper case, '-'
becomes '_'), MESH_OUTBOUND=host:port for --outbound-shared. Options can also come from variables or a file, as for mesh
sidecar. Signals: HUP and USR1 go to COMMAND. USR2 reads the options anew and puts a new sidecar in the place of the one
that runs: no connection is refused, no request lost. TERM and INT stop everything in order: no new calls from others,
those in flight finished (--drain-timeout), TERM to COMMAND, then the sidecar; one more of them hastens each step.
Exit code: COMMAND's, 128+n when signal n ended it; 127 COMMAND not found, 126 not executable, 2 wrong option, 1 when
there is no sidecar.""",
    tuple(option._replace(flag="--port", metavar="PORT",
                          help="where COMMAND listens on 127.0.0.1, HOST:PORT elsewhere (default: it takes no calls)")
          if option.name == "app" else option for option in OPTIONS if option.name not in ("ready_fd", "takeover")))


def main(argv: Sequence[str], environ: Mapping[str, str] | None = None, sidecar: Sequence[str] = SIDECAR) -> int:
    """Run until COMMAND ends; returns the exit code. `sidecar` is the program that stands beside it."""
    environ = os.environ if environ is None else environ
    flags, command = _split(argv)
    variables = environ
    config = load(flags, variables, RUN)
    if not command:
        raise InvalidConfig("no COMMAND: it stands after --, as in mesh run --service cart --port 50051 -- ./cart")
    path, code = find(command[0], environ.get("PATH", os.defpath))
    if code:
        print(f"mesh run: {command[0]}: {'not found' if code == 127 else 'not executable'}", file=sys.stderr)
        return code

    def told(ready: Mapping[str, Any]) -> dict[str, str]:
        return {**environ, **app_environment(ready)}

    return Supervisor(config, lambda: load(flags, variables, RUN), sidecar, path, command, environ, told).run()


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    arguments = list(argv)
    if "--" not in arguments:
        return arguments, []
    index = arguments.index("--")
    return arguments[:index], arguments[index + 1:]


def find(name: str, path: str) -> tuple[str, int]:
    """Return the file to execute and 0; "" and 127 when there is none, 126 when it may not be executed."""
    found = shutil.which(name, path=path)
    if found is not None:
        return found, 0
    if os.path.dirname(name):
        return "", 126 if os.path.exists(name) else 127
    there = any(os.path.isfile(os.path.join(folder, name)) for folder in path.split(os.pathsep) if folder)
    return "", 126 if there else 127


def app_environment(ready: Mapping[str, Any]) -> dict[str, str]:
    """Return what the app is told, from the sidecar's ready line."""
    told = {f"MESH_OUTBOUND_{service.upper().replace('-', '_')}": address
            for service, address in (ready.get("outbound") or {}).items()}
    if ready.get("outbound_shared"):
        told["MESH_OUTBOUND"] = ready["outbound_shared"]
    return told


