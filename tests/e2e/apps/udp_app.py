"""A UDP server: the app behind a sidecar in the end-to-end tests of datagrams.

What lives here: `?name` is answered with the name, `?silence` with nothing, `?many` with ten datagrams, everything else
with itself. What this must not know: the mesh.
"""

from __future__ import annotations

import argparse
import json
import os
import socket


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="app")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ready-fd", type=int, required=True)
    args = parser.parse_args()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", args.port))
    with os.fdopen(args.ready_fd, "w") as ready:
        ready.write(json.dumps({"port": sock.getsockname()[1]}) + "\n")
    while True:
        datagram, source = sock.recvfrom(65_536)
        match datagram:
            case b"?name":
                answers = [args.name.encode()]
            case b"?silence":
                answers = []
            case b"?many":
                answers = [b"%d" % number for number in range(10)]
            case _:
                answers = [datagram]
        for answer in answers:
            sock.sendto(answer, source)


if __name__ == "__main__":
    main()
