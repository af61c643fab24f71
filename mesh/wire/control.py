# cython: language_level=3, wraparound=False, initializedcheck=False
"""The frames of an HTTP/2 connection that carry no message: SETTINGS, PING, GOAWAY, WINDOW_UPDATE, PRIORITY, RST_STREAM
(RFC 9113, section 6).

What lives here: what they change, and how an error that costs one stream is answered. What this must not know: how
frames are cut from octets, DATA, HEADERS.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.wire.codec import Handler, Stream
from mesh.wire.frames import PREFACE
from mesh.wire.hpack import Decoder, Encoder
from mesh.wire.limits import (
    FLOOD_GOAWAY,
    FLOOD_PING,
    FLOOD_PRIORITY,
    FLOOD_SETTINGS,
    FLOOD_USELESS_FRAMES,
    FLOOD_WINDOW_UPDATE,
    MADE_YOU_RESET,
    RAPID_RESET,
    SLOW_HEADERS,
    Allowance,
    Limits,
    Settings,
)
from mesh.wire.sending import SendingSide

if not cython.compiled:
    from mesh.wire.octets import octets_of
    from mesh.wire.sending import DRAIN_PING
    from mesh.wire.streams import OWN_RESET, PEER_RESET, word_at
    from mesh.wire.windows import PROBE

MAX_WINDOW: int = 2147483647
# A stream that lived this long (seconds) was no rapid reset: 1000 streams of 0.1 s each are 10,000 a second, ordinary
# load.
RAPID_RESET_AGE: float = 0.1


class ControlSide(SendingSide):
    """What a connection does with frames that are not a message. Public attributes are those of `Connection`."""

    def __init__(self, client: cython.bint, handler: Handler, dirty: list[Any] | None, settings: Settings) -> None:
        SendingSide.__init__(self, client, handler, dirty, settings)
        limits: Limits = settings.limits
        self.settings: Settings = settings
        self.encoder: Encoder = Encoder()
        self.decoder: Decoder = Decoder(4096, settings.max_header_list + settings.list_tolerance, limits.header_fields)
        self.peer_max_streams: int = 100 if client else 0  # until its SETTINGS are here; RFC 9113 recommends no less
        self.peer_max_header_list: int = 0x7FFFFFFF
        self.peer_connect_protocol: bool = False  # RFC 8441
        self.peer_no_priorities: bool = False  # RFC 9218, section 2.1
        self.settings_received: bool = False
        self.settings_acknowledged: bool = False
        self.first_settings: bool = False
        self.next_id: int = 1
        self.highest_id: int = 0  # of the peer's streams, those that came after our GOAWAY too
        self.peer_window: int = 65535
        # Until our SETTINGS are acknowledged the peer may go by the initial 65,535.
        self.stream_window: int = max(65535, settings.initial_window)
        self.begun: float = 0.0  # when the peer began with its preface, or with a header block in several frames
        self.partial: float = 0.0  # when it began with the frame that is not complete
        self.peer_resets: int = 0
        self.early_age: float = limits.early_reset_age_s
        self.settings_frames: Allowance = Allowance(limits.settings, limits.settings)
        self.priorities: Allowance = Allowance(10 * limits.priorities, limits.priorities)
        self.forced_resets: Allowance = Allowance(limits.forced_resets, limits.forced_resets / 20)

    def start(self) -> cython.int:
        """Queue the preface: SETTINGS, and the connection's receive window."""
        self.begun = self.now
        settings: Any = self.settings
        pairs: list[Any] = [(4, settings.initial_window), (6, settings.max_header_list)]
        if settings.header_table != 4096:
            pairs.append((1, settings.header_table))
        if settings.max_frame != 16384:
            pairs.append((5, settings.max_frame))
        if self.client:
            self.put(PREFACE)
            pairs.append((2, 0))
        else:
            pairs.append((3, settings.max_concurrent_streams))
            if settings.connect_protocol:
                pairs.append((8, 1))
        self.settings_frame(pairs)
        if self.recv_window > 65535:
            self.word_frame(8, 0, self.recv_window - 65535)
        return 0

    def expire(self, begun: cython.bint) -> cython.int:
        """The shell waits no longer: say which requests were taken, so that one which crosses this can be repeated."""
        if not begun:
            return self.goaway(0, b"idle")
        self.count(SLOW_HEADERS)
        return self.goaway(11, b"slow_headers")

    # -- SETTINGS

    def on_settings_frame(self, flags: cython.int, buf: bytearray, start: cython.Py_ssize_t,
                          n: cython.Py_ssize_t) -> cython.int:
        self.spend(self.settings_frames, FLOOD_SETTINGS)
        if flags & 1:
            return self.on_settings_ack()
        before: cython.longlong = self.peer_window
        at: cython.Py_ssize_t
        self.first_settings = not self.settings_received
        if self.first_settings:
            self.settings_received = True
            self.peer_max_streams = 0x7FFFFFFF  # unless it says otherwise
        for at in range(start, start + n, 6):
            self.on_setting((buf[at] << 8) | buf[at + 1], word_at(buf, at + 2))
        self.answer()
        self.frame(0, 4, 1, 0)
        self.handler.on_settings()
        if self.peer_window <= before:
            return 0
        stream: Stream
        for stream in self.table.streams():
            if stream.waits == 2 and stream.send_window > 0:
                self.wait(stream)
        return self.handler.on_writable(None)

    def on_settings_ack(self) -> cython.int:
        """Ours are in force (RFC 9113, section 6.5.3)."""
        if not self.settings_received:
            return self.fail(1, "first frame is an acknowledgement")
        if self.settings_acknowledged:
            return 0
        self.settings_acknowledged = True
        settings: Any = self.settings
        grown: cython.longlong = settings.initial_window - self.stream_window
        stream: Stream
        self.decoder.set_limit(settings.header_table)
        self.stream_window += grown
        if grown:
            for stream in self.table.streams():
                stream.recv_window += grown
                stream.window += grown
        return 0

    def on_setting(self, identifier: cython.int, value: cython.longlong) -> cython.int:
        """RFC 9113, section 6.5.2; RFC 8441, section 3; RFC 9218, section 2.1."""
        stream: Stream
        grown: cython.longlong
        if identifier == 1:
            self.encoder.set_max_table(value)
        elif identifier == 2:
            if value > 1 or (value and self.client):
                return self.fail(1, "SETTINGS_ENABLE_PUSH")
        elif identifier == 3:
            self.peer_max_streams = value
        elif identifier == 4:
            if value > MAX_WINDOW:
                return self.fail(3, "SETTINGS_INITIAL_WINDOW_SIZE")
            grown = value - self.peer_window
            self.peer_window = value
            for stream in self.table.streams():
                stream.send_window += grown
                if stream.send_window > MAX_WINDOW:
                    return self.fail(3, "SETTINGS_INITIAL_WINDOW_SIZE overflows a window")
        elif identifier == 5:
            if value < 16384 or value > 16777215:
                return self.fail(1, "SETTINGS_MAX_FRAME_SIZE")
            self.peer_max_frame = value
        elif identifier == 6:
            self.peer_max_header_list = min(value, MAX_WINDOW)
        elif identifier == 8:
            if value > 1:
                return self.fail(1, "SETTINGS value is not 0 or 1")
            if self.peer_connect_protocol and not value:
                return self.fail(1, "SETTINGS_ENABLE_CONNECT_PROTOCOL taken back")
            self.peer_connect_protocol = value != 0
        elif identifier == 9:
            if value > 1:
                return self.fail(1, "SETTINGS value is not 0 or 1")
            if not self.first_settings and value != self.peer_no_priorities:
                return self.fail(1, "SETTINGS_NO_RFC7540_PRIORITIES changed")
            self.peer_no_priorities = value != 0
        return 0

    # -- PING, GOAWAY, WINDOW_UPDATE, PRIORITY, RST_STREAM

    def on_ping(self, flags: cython.int, data: bytes) -> cython.int:
        if flags & 1:
            if self.pings_due == 0:
                return self.spend(self.useless, FLOOD_USELESS_FRAMES, self.ended)
            self.pings_due -= 1
            if self.probing and data == PROBE:
                return self.on_probe()
            if self.draining and data == DRAIN_PING and not self.local_goaway:
                self.goaway()
            return self.handler.on_ping_ack(data)
        self.spend(self.pings, FLOOD_PING, self.frames_sent)  # gRPC measures the round trip while it receives
        self.answer()
        self.frame(8, 6, 1, 0)
        return self.put(data)

    def on_goaway_frame(self, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.int:
        """RFC 9113, section 6.8. As client: what the peer has not taken may be asked elsewhere.

        A last stream id above that of a GOAWAY before takes nothing back: those streams are gone.
        """
        self.spend(self.settings_frames, FLOOD_GOAWAY)
        self.peer_goaway = True
        last_id: cython.uint = word_at(buf, start) & 0x7FFFFFFF
        stream: Stream
        if self.client:
            for stream in self.table.streams():
                if stream.id > last_id and not stream.closed:
                    self.drop(stream, OWN_RESET)
                    self.handler.on_reset(stream, 7, True)
        self.handler.on_goaway(last_id, word_at(buf, start + 4), octets_of(buf, start + 8, min(n - 8, 256)))
        return self.leave() if self.table.count == 0 else 0

    def on_window_update(self, stream_id: cython.uint, increment: cython.longlong) -> cython.int:
        # For each DATA frame one of the stream and one of the connection, in small steps; and gRPC core sends one for
        # each stream it opens. Both numbers are Envoy's.
        self.spend(self.updates, FLOOD_WINDOW_UPDATE, 20 * self.frames_sent + 2 * self.opened)
        if stream_id == 0:
            if increment == 0:
                return self.fail(1, "WINDOW_UPDATE of 0")
            self.send_window += increment
            if self.send_window > MAX_WINDOW:
                return self.fail(3, "WINDOW_UPDATE overflows the connection's window")
            return self.handler.on_writable(None)
        stream: Stream | None = cython.cast(Stream, self.table.find(stream_id))
        if stream is None:
            return self.fail(1, "WINDOW_UPDATE on an idle stream") if self.idle(stream_id) else 0
        if increment == 0:
            return self.stream_error(stream, 1)
        stream.send_window += increment
        if stream.send_window > MAX_WINDOW:
            return self.stream_error(stream, 3)
        if stream.waits == 1:
            return 0  # what it waits for is its turn
        stream.waits = 0
        return self.handler.on_writable(stream)

    def on_priority(self, stream_id: cython.uint, dependency: cython.uint, n: cython.Py_ssize_t) -> cython.int:
        """Ignored, but for what RFC 9113, section 6.3, and RFC 7540, section 5.3.1, forbid."""
        if stream_id == 0:
            return self.fail(1, "PRIORITY on stream 0")
        self.spend(self.priorities, FLOOD_PRIORITY)
        if n == 5 and dependency != stream_id:
            return 0
        stream: Stream | None = cython.cast(Stream, self.table.find(stream_id))
        if stream is not None:
            return self.stream_error(stream, 1 if n == 5 else 6)
        if not self.idle(stream_id):
            return 0 if self.table.fate(stream_id) == OWN_RESET else self.refuse(stream_id, 1 if n == 5 else 6)
        return self.fail(1 if n == 5 else 6, "malformed PRIORITY on an idle stream")

    def on_reset_frame(self, stream_id: cython.uint, code: cython.uint) -> cython.int:
        stream: Stream | None = cython.cast(Stream, self.table.find(stream_id))
        if stream is None:
            if stream_id == 0 or self.idle(stream_id):
                return self.fail(1, "RST_STREAM on an idle stream")
            return self.spend(self.useless, FLOOD_USELESS_FRAMES, self.ended)
        self.peer_resets += 1
        age: cython.double = self.now - stream.opened
        if not self.client and not stream.headers_sent and age < RAPID_RESET_AGE:
            if age < self.early_age:
                self.spend(self.early_resets, RAPID_RESET, self.ended)
            self.spend(self.rapid_resets, RAPID_RESET, self.ended)
        self.drop(stream, PEER_RESET)
        return self.handler.on_reset(stream, code, True)

    # -- errors that cost one stream

    def idle(self, stream_id: cython.uint) -> cython.bint:
        """True if the stream has not been opened yet (an even id never is)."""
        if stream_id & 1 == 0:
            return True
        return stream_id >= self.next_id if self.client else stream_id > self.highest_id

    def stream_error(self, stream: Stream, code: cython.uint) -> cython.int:
        """RFC 9113, section 5.4.2. What it costs us is counted: CVE-2025-8671 makes a server reset its own streams."""
        self.count_refusal()  # may end the connection: then this stream is one of those that end with it
        self.drop(stream, OWN_RESET)
        self.send_refusal(stream.id, code)
        return self.handler.on_reset(stream, code, False)

    def refuse(self, stream_id: cython.uint, code: cython.uint) -> cython.int:
        """RST_STREAM for a stream that the handler doesn't know, or no longer."""
        self.count_refusal()
        return self.send_refusal(stream_id, code)

    def count_refusal(self) -> cython.int:
        self.spend(self.forced_resets, MADE_YOU_RESET)
        return self.answer()

    def send_refusal(self, stream_id: cython.uint, code: cython.uint) -> cython.int:
        self.own_resets += 1
        self.word_frame(3, stream_id, code)
        return self.table.remember(stream_id, OWN_RESET)
