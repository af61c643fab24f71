"""The command `mesh`: finds the program or operator's command that is asked for, and imports nothing else.

What lives here: dispatch and exit codes (0 done, 1 failed, 2 wrong input, 130 interrupted). What this must not know:
what the commands do. The programs (`sidecar`, `controlplane`, `run`, `demo`) are found before click is imported: a
sidecar must stay light, and so must what runs beside every app.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from mesh.errors import MeshError

# By name, not by import: `demo` stands above this package.
PROGRAMS = {
    "sidecar": "mesh.sidecar.app",
    "controlplane": "controlplane.command",
    "run": "mesh.cli.run",
    "demo": "mesh.demo.command",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mesh` with `argv` (default: the process's) and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments[0] if arguments else ""
    try:
        if command in PROGRAMS:
            return int(importlib.import_module(PROGRAMS[command]).main(arguments[1:]))
        if command == "--version":
            arguments[0] = "version"
        from mesh.cli.group import invoke

        return invoke(arguments)
    except MeshError as error:
        print(f"mesh {command}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
