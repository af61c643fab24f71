"""A sidecar whose workers carry nothing: each answers a connection with its number, and does what it is told.

`group_standin.py LOG [sidecar's flags]`: what the workers are told goes to LOG. MODE: fragile (worker 1 ends before it
is ready), deaf (the workers don't end when they are told to), curious (worker 1 asks for everybody's statistics when it
is first asked for its own).
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import socket
import sys
from typing import Any

from mesh.sidecar.config import load
from mesh.sidecar.group import Group, Poll
from mesh.sidecar.link import Link
from mesh.sidecar.sockets import Named, Sockets
from mesh.sidecar.takeover import find

LOG = sys.argv[1]
MODE = os.environ.get("MODE", "")


class Done(Exception):
    pass


def work(number: int, sockets: Sockets, sock: socket.socket, held: bool, succeeding: bool) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    poll = Poll()
    lent: dict[int, list[Named]] = {}
    asked: list[bool] = []

    def note(*words: object) -> None:
        with open(LOG, "a") as log:
            print(number, *words, file=log)

    def accept(listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        connection.sendall(b"%d" % number)
        connection.close()

    def serve(named: list[Named]) -> None:
        for _, each in named:
            poll.add_reader(each.fileno(), functools.partial(accept, each))

    def on_message(message: dict[str, Any], came: list[Named]) -> None:
        do = message.pop("do")
        note(do, *(message[key] for key in sorted(message) if key != "sockets"))
        if do == "accept":
            if held:
                serve(list(sockets))
            name, first = next(iter(sockets))
            link.send({"event": "ready", "pid": os.getpid(), name: first.getsockname()[1]})
        elif do == "lend":
            lent.setdefault(message["slot"], []).extend(came)
            serve(came)
        elif do == "take back":
            for _, each in lent.pop(message["slot"], ()):
                poll.remove_reader(each.fileno())
                each.close()
        elif do == "statistics":
            if MODE == "curious" and number == 1 and not asked:
                asked.append(True)
                link.send({"event": "gather"})
            link.send({"event": "statistics", "statistics": {"id": f"web/{number}", "requests": number + 1}})
        elif do == "leave":
            link.send({"event": "left"})
        elif do == "drain inbound":
            link.send({"event": "inbound drained"})
        elif do == "drain" and MODE != "deaf":
            raise Done

    def on_end() -> None:
        note("orphaned")
        raise Done

    note("starts", os.getpid(), held, succeeding)
    if MODE == "fragile" and number == 1:
        return 3
    link = Link(poll, sock, on_message, on_end)
    if not held:
        serve(list(sockets))
    link.send({"event": "prepared"})
    try:
        while True:
            poll.turn()
    except Done:
        return 0


def main() -> int:
    logging.basicConfig(level="INFO", format="%(message)s")
    config = load(sys.argv[2:], {})
    predecessor = find(config) if config.takeover else None
    sockets = Sockets.bind(config, config.workers, predecessor.sockets if predecessor else ())
    return Group(config, sockets, predecessor, work).run()


if __name__ == "__main__":
    sys.exit(main())
