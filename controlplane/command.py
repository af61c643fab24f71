"""`mesh controlplane`: flags to settings, errors to exit codes.

What lives here: argparse and the exit codes (0 stopped by a signal, 1 the store failed, 2 a flag or its address is
wrong). What this must not know: what is started.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from controlplane.config import Config, parse_address, parse_age, parse_size
from mesh.errors import InvalidConfig, MeshError

_EXAMPLES = """
examples:
  mesh controlplane
      on 127.0.0.1:15010, data in ./mesh-data
  mesh controlplane --listen 0.0.0.0:15010 --data-dir /var/lib/mesh
      for sidecars on other machines
  mesh controlplane --trace-max-size 2GiB --trace-max-age 7d
      keeps more traces; the oldest go first

It runs until SIGTERM or Ctrl-C. Everything acknowledged survives a kill. Health (grpc.health.v1), reflection and
OTLP (opentelemetry.proto.collector.trace.v1.TraceService) are served on the same port.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidConfig(message.removeprefix("argument "))


def main(argv: Sequence[str]) -> int:
    """Run the control plane with the flags in `argv` and return the exit code."""
    try:
        config = parse(argv)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 2
    except InvalidConfig as error:
        return _failed(error)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Late: --help and a wrong flag shouldn't wait for grpc.
    import uvloop

    from controlplane.server import serve

    try:
        uvloop.run(serve(config))
    except MeshError as error:
        return _failed(error)
    return 0


def parse(argv: Sequence[str]) -> Config:
    """Return the settings. Raises InvalidConfig with one line that names the flag, or SystemExit for --help."""
    parser = _Parser(
        prog="mesh controlplane", description="Keep the registry, steer the sidecars, store traces.",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:15010",
                        help="where to serve; port 0 is any free port (default %(default)s)")
    parser.add_argument("--data-dir", metavar="DIR", default="mesh-data",
                        help="where registry and traces are kept; made if missing (default ./%(default)s)")
    parser.add_argument("--trace-max-size", metavar="SIZE", default="256MiB",
                        help="disk space for traces, like 512MiB or 2GB (default %(default)s)")
    parser.add_argument("--trace-max-age", metavar="AGE", default="24h",
                        help="how long traces are kept, like 90m, 24h or 7d (default %(default)s)")
    parser.add_argument("--ready-fd", metavar="N",
                        help="descriptor that gets one JSON line when calls are served")
    flags, unknown = parser.parse_known_args(argv)
    if unknown:
        word = unknown[0].partition("=")[0]
        raise InvalidConfig(f"{word}: no such flag" if word.startswith("-") else f"{unknown[0]}: unexpected argument")
    if not flags.data_dir or "\0" in flags.data_dir:
        raise InvalidConfig(f"--data-dir: {flags.data_dir!r} is not a directory")
    host, port = parse_address(flags.listen, "--listen")
    return Config(host=host, port=port, data_dir=Path(flags.data_dir),
                  trace_max_size=parse_size(flags.trace_max_size, "--trace-max-size"),
                  trace_max_age=parse_age(flags.trace_max_age, "--trace-max-age"),
                  ready_fd=None if flags.ready_fd is None else _descriptor(flags.ready_fd))


def _descriptor(text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text):
        raise InvalidConfig(f"--ready-fd: {text!r} is not a file descriptor")
    return int(text)


def _failed(error: MeshError) -> int:
    print(f"mesh controlplane: {error}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
