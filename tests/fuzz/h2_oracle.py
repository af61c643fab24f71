"""The `h2` package as a peer of ours would use it, and where it and we are known to differ, with the reason."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2_frames import PREFACE, split
from hpack_blocks import Fields

ALTSVC = 10
PER_CALL = (b"traceparent", b"tracestate", b"grpc-timeout")
# Connection errors of ours where `h2` goes on.
STRICTER = {
    "RST_STREAM on an idle stream": "RFC 9113, section 6.4",
    "first frame is not SETTINGS": "section 3.4; h2 doesn't look",
    "first frame is an acknowledgement": "section 3.4",
    "frame over SETTINGS_MAX_FRAME_SIZE": "section 4.2; h2 waits for the whole frame before it says so",
    "PUSH_PROMISE": "section 8.4; h2 resets the stream where that is closed",
    "HEADERS on an even stream id": "section 5.1.1; h2 waits for the whole header block",
    "frame on a stream that both sides ended": "section 5.1, closed; h2 resets the stream",
    "SETTINGS value is not 0 or 1": "RFC 9218, section 2.1, which h2 doesn't know",
    "SETTINGS_NO_RFC7540_PRIORITIES changed": "RFC 9218, section 2.1",
    "SETTINGS_ENABLE_CONNECT_PROTOCOL taken back": "RFC 8441, section 3",
    "too many": "our limits",
}
# What `h2` refuses and we take.
MILDER = {
    "ProtocolError: Request header block does not have an :authority or Host header": "section 8.3.1 allows that",
    "ProtocolError: Invalid input ConnectionInputs.RECV_": "h2 takes nothing after GOAWAY; section 6.8: streams go on",
    "ProtocolError: Received frame with non-compliant data": "a reserved bit: section 6.9 says to ignore it",
    "ProtocolError: Stream": "depends on itself: section 5.3.2 deprecates priorities; open streams are still reset",
}


class Oracle:
    """A connection of `h2`, and what it was told in the words of our event log."""

    def __init__(self, client: bool, requests: list[Fields]) -> None:
        config = h2.config.H2Configuration(client_side=client, header_encoding=None, normalize_inbound_headers=False)
        self.conn = h2.connection.H2Connection(config)
        self.told: list[tuple[Any, ...]] = []
        self.error: str | None = None
        self.own_resets = False
        self.leaving = False
        self.conn.initiate_connection()
        for fields in requests:
            self.conn.send_headers(self.conn.get_next_available_stream_id(), list(fields), end_stream=True)

    def feed(self, octets: bytes) -> None:
        try:
            for event in self.conn.receive_data(octets):
                self.note(event)
        except h2.exceptions.ProtocolError as error:
            self.error = f"{type(error).__name__}: {error}"

    def note(self, event: h2.events.Event) -> None:
        match event:
            case (
                h2.events.RequestReceived()
                | h2.events.ResponseReceived()
                | h2.events.TrailersReceived()
                | h2.events.InformationalResponseReceived()
            ):
                fields = [(bytes(name), bytes(value)) for name, value in event.headers or ()]
                end = getattr(event, "stream_ended", None) is not None
                self.told.append(("headers", event.stream_id, normal(fields), end))
            case h2.events.DataReceived():
                self.told.append(("data", event.stream_id, event.data, event.stream_ended is not None))
            case h2.events.StreamReset():
                self.told.append(("reset", event.stream_id, int(event.error_code), event.remote_reset))
                self.own_resets |= not event.remote_reset
            case h2.events.ConnectionTerminated():
                self.leaving = True


def normal(fields: list[tuple[bytes, bytes]]) -> Fields:
    """As our log has them: what differs from call to call last."""
    out = [field for field in fields if field[0] not in PER_CALL]
    parents, states, timeouts = ([value for key, value in fields if key == name] for name in PER_CALL)
    if parents:
        out.append((b"traceparent", parents[0] if len(parents) == 1 else b""))
    if states:
        out.append((b"tracestate", b",".join(states)))
    if timeouts:
        out.append((b"grpc-timeout", timeouts[-1]))
    return tuple(out)


def by_stream(events: list[tuple[Any, ...]]) -> dict[int, list[tuple[Any, ...]]]:
    """Headers, data and resets of each stream, with neighbouring DATA joined and empty DATA left out."""
    streams: dict[int, list[tuple[Any, ...]]] = {}
    for event in events:
        if event[0] not in ("headers", "data", "reset"):
            continue
        log = streams.setdefault(event[1], [])
        if event[0] == "data" and log and log[-1][0] == "data":
            log[-1] = ("data", event[1], log[-1][2] + event[2], event[3])
        elif event[0] != "data" or event[2] or event[3]:
            log.append(event)
    return streams


def says_twice(piece: bytes) -> bool:
    """Whether this is a SETTINGS frame with two values for the same parameter: h2 looks only at the last of them, but
    each counts (RFC 9113, section 6.5.3)."""
    names = [piece[at:at + 2] for at in range(9, len(piece) - 5, 6)]
    return piece[3:4] == b"\4" and len(set(names)) < len(names)


def compare(client: bool, requests: list[Fields], octets: bytes, ours: tuple[Any, ...]) -> None:
    """Where both are content, both were told the same; where one is not, neither is the other, but for the known."""
    pieces = split(octets)
    if not client and pieces[:1] != [PREFACE]:
        return
    if any(piece[3] == ALTSVC for piece in pieces):
        return  # `h2` knows that frame and judges it; we are to ignore it
    oracle = Oracle(client, requests)
    oracle.feed(octets)
    events, _, counts, _, error = ours
    if error is not None:
        known = any(error[1].startswith(reason) for reason in STRICTER) or any(map(says_twice, pieces))
        assert oracle.error is not None or oracle.own_resets or known, f"only we object: {error}"
        return
    refused = counts[3] > 0  # streams that we reset
    if oracle.error is not None:
        known = any(oracle.error.startswith(reason) for reason in MILDER)
        assert refused or known, f"only h2 objects: {oracle.error}"
    elif not (oracle.own_resets or refused or oracle.leaving):
        told, meant = by_stream(events), by_stream(oracle.told)
        assert told == meant, f"we were told {told}, h2 {meant}"
