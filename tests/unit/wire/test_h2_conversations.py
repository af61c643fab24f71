"""Whole conversations with the `h2` package, both roles, each side doing what it may while octets are on their way.

What either side meant on a stream the other is told, in order: all of it, or a beginning where one of them reset the
stream. Octets are delivered one way at a time and in part, so that resets, SETTINGS and windows cross. (`h2` takes
nothing any more after GOAWAY; leaving is tested elsewhere.)
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import pytest
from h2_peer import PREFACE, Side

from mesh.wire.hpack import make_head
from mesh.wire.limits import Settings

Event = tuple[Any, ...]
Fields = tuple[tuple[bytes, bytes], ...]

POST: Fields = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/shop.Cart/Get"), (b":authority", b"cart"))
REQUESTS: tuple[Fields, ...] = (
    POST,
    (*POST, (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
    (*POST, (b"user-agent", b"x" * 300), (b"te", b"trailers")),
    (*POST, (b"x-large", b"y" * 20_000), (b"grpc-timeout", b"1S")),
)
RESPONSES: tuple[Fields, ...] = (
    ((b":status", b"200"), (b"content-type", b"application/grpc")),
    ((b":status", b"404"),),
    ((b":status", b"200"), (b"x-large", b"z" * 17_000)),
)
INTERIM: tuple[Fields, ...] = (((b":status", b"100"),), ((b":status", b"103"), (b"link", b"</a>")))
TRAILERS: tuple[Fields, ...] = (((b"grpc-status", b"0"),), ((b"grpc-status", b"14"), (b"grpc-message", b"no%20way")))
SMALL = Settings(max_concurrent_streams=4, initial_window=1000, connection_window=65_535)
CODES = h2.settings.SettingCodes
SETTINGS: dict[str, Callable[[int], dict[int, int]]] = {
    "settings": lambda n: {CODES.INITIAL_WINDOW_SIZE: 65_535 + n},
    "table": lambda n: {CODES.HEADER_TABLE_SIZE: n % 5000, CODES.MAX_CONCURRENT_STREAMS: 1 + n % 7},
    "frame": lambda n: {CODES.MAX_FRAME_SIZE: 16_384 + n},
}
WHAT = (
    *(
        "open",
        "open",
        "open",
        "answer",
        "answer",
        "data",
        "data",
        "data",
        "padded",
        "end",
        "trailers",
        "reset",
        "interim",
    ),
    *("priority", "ping", "settings", "table", "frame", "window", "deliver", "deliver", "deliver", "deliver"),
)
# Which side (True: the client), what, on which of its streams, and a number that means what the step wants.
Step = tuple[bool, str, int, int]


class Talker:
    """One side: what it has sent on which stream, and which streams it may still send on."""

    def __init__(self, client: bool) -> None:
        self.client = client
        self.meant: dict[int, list[Event]] = {}
        self.open: dict[int, bool] = {}  # stream id: headers sent
        self.resets: set[int] = set()
        self.interim: set[int] = set()
        self.peer: Talker = self

    # What differs between the two: `speak`, `sendable`, `told`, `out`, `take_in`.
    def headers(self, stream_id: int, fields: Fields, end: bool) -> None: ...
    def data(self, stream_id: int, n: int, end: bool, padding: int | None) -> None: ...
    def sendable(self, stream_id: int) -> int: ...
    def reset(self, stream_id: int) -> None: ...
    def new(self, fields: Fields, end: bool) -> int | None: ...
    def connection(self, what: str, n: int) -> None: ...
    def out(self) -> bytes: ...
    def take_in(self, octets: bytes) -> None: ...
    def told(self) -> list[Event]: ...

    def step(self, what: str, which: int, n: int) -> None:
        if what in ("ping", "settings", "table", "frame", "window", "priority"):
            self.connection(what, n)
            return
        if what == "open":
            if self.client:
                fields, end = REQUESTS[which % len(REQUESTS)], n % 3 == 0
                stream_id = self.new(fields, end)
                if stream_id is not None:
                    self.note(stream_id, ("headers", fields), end)
            return
        ids = sorted(self.open)
        if not ids:
            return
        stream_id = ids[which % len(ids)]
        begun = self.open[stream_id]
        if (what == "interim" and stream_id in self.peer.resets) or (
            what == "reset" and stream_id in self.peer.interim
        ):
            return  # `h2` takes no interim response on a stream that it has reset: they must not cross
        if what in ("answer", "interim") and not self.client and not begun:
            fields = (RESPONSES if what == "answer" else INTERIM)[n % 2]
            end = what == "answer" and n % 5 == 0
            self.headers(stream_id, fields, end)
            self.note(stream_id, ("headers", fields), end)
            if what == "interim":
                self.open[stream_id] = False
                self.interim.add(stream_id)
        elif what == "reset":
            self.reset(stream_id)
            self.resets.add(stream_id)
        elif what in ("data", "padded", "end") and begun:
            padding = n % 256 if what == "padded" else None
            n = min(n, max(0, self.sendable(stream_id) - (0 if padding is None else padding + 1)))
            if padding is not None and self.sendable(stream_id) < padding + 1:
                return
            self.data(stream_id, n, what == "end", padding)
            self.note(stream_id, ("data", b"d" * n), what == "end")
        elif what == "trailers" and begun:
            self.headers(stream_id, TRAILERS[n % 2], True)
            self.note(stream_id, ("headers", TRAILERS[n % 2]), True)
        self.forget()

    def note(self, stream_id: int, event: Event, end: bool) -> None:
        self.meant.setdefault(stream_id, []).append((*event, end))
        self.open[stream_id] = True
        if end:
            self.open.pop(stream_id, None)
        self.forget()

    def forget(self) -> None:
        for stream_id in self.resets:
            self.open.pop(stream_id, None)

    def hear(self, event: Event) -> None:
        """What the other side said of a stream."""
        if event[0] == "reset":
            self.resets.add(event[1])
        elif not self.client and event[0] == "headers" and event[1] not in self.meant:
            self.meant[event[1]] = []
            self.open[event[1]] = False
        self.forget()


class Ours(Talker):
    def __init__(self, client: bool, small: bool) -> None:
        super().__init__(client)
        self.side = Side(client, fresh=True, settings_=SMALL if small else None)
        self.side.conn.now = 1.0
        self.side.conn.start()
        self.events: list[Event] = []

    def headers(self, stream_id: int, fields: Fields, end: bool) -> None:
        self.side.conn.send_head(self.side.stream(stream_id), make_head(list(fields)), b"", end)

    def data(self, stream_id: int, n: int, end: bool, padding: int | None) -> None:
        self.side.conn.send_data(self.side.stream(stream_id), b"d" * n, 0, n, end)

    def sendable(self, stream_id: int) -> int:
        return self.side.conn.sendable(self.side.stream(stream_id))

    def reset(self, stream_id: int) -> None:
        self.side.conn.reset(self.side.stream(stream_id), 8)

    def new(self, fields: Fields, end: bool) -> int | None:
        if not self.side.conn.can_open():
            return None
        stream = self.side.conn.request(None, make_head(list(fields)), b"", end)
        self.side.log.streams[stream.id] = stream
        return stream.id

    def connection(self, what: str, n: int) -> None:
        if what == "ping":
            self.side.conn.ping(b"12345678")

    def out(self) -> bytes:
        return self.side.conn.take_output()

    def take_in(self, octets: bytes) -> None:
        self.side.feed(octets)
        for event in self.side.events():
            self.events.append(event)
            self.hear(event)

    def told(self) -> list[Event]:
        return self.events


class Theirs(Talker):
    def __init__(self, client: bool) -> None:
        super().__init__(client)
        config = h2.config.H2Configuration(client_side=client, header_encoding=None, normalize_inbound_headers=False)
        self.conn = h2.connection.H2Connection(config)
        self.conn.initiate_connection()
        self.acknowledged = False
        self.rest = b""
        self.events: list[Event] = []

    def headers(self, stream_id: int, fields: Fields, end: bool) -> None:
        self.conn.send_headers(stream_id, list(fields), end_stream=end)

    def data(self, stream_id: int, n: int, end: bool, padding: int | None) -> None:
        self.conn.send_data(stream_id, b"d" * n, end, padding)

    def sendable(self, stream_id: int) -> int:
        return min(self.conn.local_flow_control_window(stream_id), self.conn.max_outbound_frame_size - 1)

    def reset(self, stream_id: int) -> None:
        self.conn.reset_stream(stream_id, 8)

    def new(self, fields: Fields, end: bool) -> int | None:
        if self.conn.open_outbound_streams >= min(self.conn.remote_settings.max_concurrent_streams, 4):
            return None
        stream_id = self.conn.get_next_available_stream_id()
        self.conn.send_headers(stream_id, list(fields), end_stream=end)
        return stream_id

    def connection(self, what: str, n: int) -> None:
        # `h2` takes any acknowledgement for that of all its SETTINGS, and can't shrink a window below what came.
        if what in SETTINGS and self.acknowledged:
            self.acknowledged = False
            self.conn.update_settings(SETTINGS[what](n))
        match what:
            case "ping":
                self.conn.ping(b"abcdefgh")
            case "window":
                self.conn.increment_flow_control_window(1 + n)
            case "priority" if self.client and self.meant:
                self.conn.prioritize(max(self.meant), weight=1 + n % 256, depends_on=0, exclusive=bool(n & 1))

    def out(self) -> bytes:
        return self.conn.data_to_send()

    def take_in(self, octets: bytes) -> None:
        """Frame by frame: `h2` looks at the largest frame it allows only once for all that it is given."""
        self.rest += octets
        while len(self.rest) >= (
            n := 24 if self.rest.startswith(PREFACE) else 9 + int.from_bytes(self.rest[:3], "big")
        ):
            for event in self.conn.receive_data(self.rest[:n]):
                self.note_event(event)
            self.rest = self.rest[n:]

    def note_event(self, event: h2.events.Event) -> None:
        end = getattr(event, "stream_ended", None) is not None
        match event:
            case (
                h2.events.RequestReceived()
                | h2.events.ResponseReceived()
                | h2.events.TrailersReceived()
                | h2.events.InformationalResponseReceived()
            ):
                fields = tuple((bytes(name), bytes(value)) for name, value in event.headers or ())
                self.events.append(("headers", event.stream_id, fields, end))
            case h2.events.DataReceived():
                self.events.append(("data", event.stream_id, event.data, end))
                if event.stream_id not in self.resets:
                    self.conn.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            case h2.events.SettingsAcknowledged():
                self.acknowledged = True
                return
            case h2.events.StreamReset():
                self.events.append(("reset", event.stream_id, int(event.error_code or 0), event.remote_reset))
            case _:
                return
        self.hear(self.events[-1])

    def told(self) -> list[Event]:
        return self.events


def said(events: list[Event]) -> list[Event]:
    """Neighbouring DATA as one, empty DATA left out."""
    out: list[Event] = []
    for kind, content, end in events:
        if kind == "data" and out and out[-1][0] == "data":
            out[-1] = ("data", out[-1][1] + content, end)
        elif kind == "headers" or content or end:
            out.append((kind, content, end))
    return out


def is_beginning(part: list[Event], whole: list[Event]) -> bool:
    """`part` is `whole`, less what might have come later."""
    if not part:
        return True
    if len(part) > len(whole) or part[:-1] != whole[: len(part) - 1]:
        return False
    last, meant = part[-1], whole[len(part) - 1]
    return last == meant or (last[0] == meant[0] == "data" and not last[2] and meant[1].startswith(last[1]))


def compare(speaker: Talker, listener: Talker) -> None:
    heard: dict[int, list[Event]] = {}
    for event in listener.told():
        if event[0] in ("headers", "data"):
            heard.setdefault(event[1], []).append((event[0], event[2], event[3]))
    for stream_id, meant in speaker.meant.items():
        got, whole = said(heard.get(stream_id, [])), said(meant)
        assert is_beginning(got, whole), f"stream {stream_id}: {got} of {whole}"
        if stream_id not in speaker.resets | listener.resets:
            assert got == whole, f"stream {stream_id}"
    assert heard.keys() <= speaker.meant.keys()


def converse(we_ask: bool, small: bool, steps: list[Step]) -> None:
    ours, theirs = Ours(we_ask, small), Theirs(not we_ask)
    ours.peer, theirs.peer = theirs, ours
    client, server = (ours, theirs) if we_ask else (theirs, ours)
    wires: dict[bool, bytes] = {True: b"", False: b""}  # by whose octets: True, the client's

    def deliver(of_client: bool, n: int) -> None:
        source, sink = (client, server) if of_client else (server, client)
        wires[of_client] += source.out()
        part, wires[of_client] = wires[of_client][:n], wires[of_client][n:]
        if part:
            sink.take_in(part)

    for of_client in (True, False, True, False):
        deliver(of_client, 10**6)
    for by_client, what, which, n in steps:
        if what == "deliver":
            deliver(by_client, n if which < 7 else 10**6)
        else:
            (client if by_client else server).step(what, which, n)
    for _ in range(20):
        deliver(True, 10**6)
        deliver(False, 10**6)
    compare(client, server)
    compare(server, client)
    counts = ours.side.conn.statistics()
    assert counts.active == len(ours.side.conn.all_streams())
    assert not ours.side.conn.closed
    assert ours.side.rest == b""


def some_steps(rng: random.Random) -> list[Step]:
    return [
        (rng.random() < 0.5, rng.choice(WHAT), rng.randrange(10), rng.choice((0, 1, 5, rng.randrange(40_000))))
        for _ in range(rng.randrange(120))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("we_ask", [False, True], ids=["h2 asks us", "we ask h2"])
def test_each_is_told_what_the_other_means(we_ask: bool) -> None:
    rng = random.Random(29)
    for round_ in range(150):
        steps = some_steps(rng)
        try:
            converse(we_ask, bool(round_ & 1), steps)
        except Exception:
            print(f"round {round_}: converse({we_ask}, {bool(round_ & 1)}, {steps})")
            raise
