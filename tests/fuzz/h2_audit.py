"""What an HTTP/2 connection of ours may send, judged from the frames that went each way (RFC 9113).

Windows and frame size that the peer granted, states of the streams, CONTINUATION, answers to PING and SETTINGS. Told
all that came in before what it caused to go out; where the peer's frame was refused, that only makes it lenient.
"""

from __future__ import annotations

from collections import deque

import hpack
from h2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    is_whole,
)


class Audit:
    def __init__(self) -> None:
        self.connection_window = 65535
        self.initial_window = 65535
        self.windows: dict[int, int] = {}
        self.max_frame = 16384
        self.settings_due = 0
        self.pings_due: deque[bytes] = deque()
        self.ended: set[int] = set()
        self.reset: set[int] = set()
        self.reset_by_peer: set[int] = set()
        self.begun: set[int] = set()
        self.continued = 0
        self.block = b""
        self.last_goaway = 2**31
        self.decoder = hpack.Decoder(max_header_list_size=1 << 30)
        self.kinds: list[int] = []

    def came(self, piece: bytes) -> None:
        """A piece from the peer; what isn't a whole frame says nothing."""
        if piece == PREFACE or not is_whole(piece):
            return
        kind, flags, stream_id, payload = piece[3], piece[4], int.from_bytes(piece[5:9], "big") & 0x7FFFFFFF, piece[9:]
        if kind == SETTINGS and not flags & ACK:
            self.settings_due += 1
            for at in range(0, len(payload) - 5, 6):
                self.setting(
                    int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
                )
        elif kind == WINDOW_UPDATE and len(payload) == 4:
            grown = int.from_bytes(payload, "big") & 0x7FFFFFFF
            if stream_id:
                self.windows[stream_id] = self.windows.get(stream_id, self.initial_window) + grown
            else:
                self.connection_window += grown
        elif kind == PING and not flags & ACK:
            self.pings_due.append(payload)
        elif kind == RST_STREAM and stream_id:
            self.reset_by_peer.add(stream_id)

    def setting(self, identifier: int, value: int) -> None:
        if identifier == 4:
            for stream_id in self.windows:
                self.windows[stream_id] += value - self.initial_window
            self.initial_window = value
        elif identifier == 5:
            self.max_frame = max(16384, value)

    def went(self, octets: bytes) -> None:
        """Our output; whole frames."""
        octets = octets.removeprefix(PREFACE)
        while octets:
            n = int.from_bytes(octets[:3], "big")
            assert len(octets) >= 9 + n, "a frame is cut off"
            self.frame(octets[3], octets[4], int.from_bytes(octets[5:9], "big"), octets[9 : 9 + n])
            octets = octets[9 + n :]

    def frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        assert kind in (DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION)
        assert len(payload) <= self.max_frame
        assert (self.continued == stream_id) if kind == CONTINUATION else not self.continued
        assert (stream_id == 0) == (kind in (SETTINGS, PING, GOAWAY)) or kind == WINDOW_UPDATE
        assert stream_id < 2**31
        if kind in (DATA, HEADERS):
            assert stream_id not in self.ended | self.reset, "sent after our own end"
        if kind in (DATA, HEADERS, WINDOW_UPDATE):
            assert stream_id not in self.reset, "sent after our RST_STREAM"
            assert stream_id not in self.reset_by_peer, "sent on a stream that the peer reset"
        self.kinds.append(kind)
        if kind == DATA:
            assert stream_id in self.begun, "DATA before HEADERS"
            self.connection_window -= len(payload)
            self.windows[stream_id] = self.windows.get(stream_id, self.initial_window) - len(payload)
            # A window may be negative after a change of SETTINGS; then nothing but empty DATA goes.
            assert not payload or min(self.connection_window, self.windows[stream_id]) >= 0, "DATA past a window"
        elif kind in (HEADERS, CONTINUATION):
            self.begun.add(stream_id)
            self.block += payload
            self.continued = 0 if flags & END_HEADERS else stream_id
            if not self.continued:
                self.decoder.decode(self.block, raw=True)
                self.block = b""
        elif kind == RST_STREAM:
            assert len(payload) == 4
            self.reset.add(stream_id)
        elif kind == SETTINGS and flags & ACK:
            self.settings_due -= 1
            assert self.settings_due >= 0
            assert not payload
        elif kind == PING and flags & ACK:
            assert self.pings_due.popleft() == payload
        elif kind == GOAWAY:
            last = int.from_bytes(payload[:4], "big")
            assert last <= self.last_goaway, "GOAWAY with a higher last stream than the one before"
            self.last_goaway = last
        elif kind == WINDOW_UPDATE:
            assert 0 < int.from_bytes(payload, "big") < 2**31
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self.ended.add(stream_id)
