# cython: language_level=3, wraparound=False, initializedcheck=False
"""What gRPC puts on top of HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).

What lives here: message framing for the mesh's own calls, `grpc-timeout`, `grpc-message`, status codes. What this
must not know: streams, protobuf.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.wire.errors import MessageError

if not cython.compiled:
    from mesh.wire.fieldrules import digits
    from mesh.wire.octets import octets_of

STATUS_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
MAX_MESSAGE = 4 << 20  # octets; what gRPC implementations accept unless told otherwise
# How many of each unit make a second, by the octet that names it; hours and minutes the other way round.
UNITS: dict[int, float] = {0x48: -3600.0, 0x4D: -60.0, 0x53: 1.0, 0x6D: 1e3, 0x75: 1e6, 0x6E: 1e9}
HEX_DIGITS: bytes = b"0123456789abcdefABCDEF"
SCRATCH: bytearray = bytearray(16)
# Octets of a grpc-message that stand for themselves: space to tilde without percent.
SAFE: bytearray = bytearray(0x20 <= octet <= 0x7E and octet != 0x25 for octet in range(256))


def parse_timeout(value: bytes) -> cython.double:
    """Seconds of a `grpc-timeout`, or -1 if it is malformed (1 to 8 digits and one of H M S m u n)."""
    n: cython.Py_ssize_t = len(value)
    if n < 2:
        return -1.0
    unit: cython.double = UNITS.get(value[n - 1], 0.0)
    number: cython.longlong = digits(value[: n - 1], 8)
    if unit == 0.0 or number < 0:
        return -1.0
    return number / unit if unit > 0.0 else number * -unit


def format_timeout(seconds: cython.double) -> bytes:
    """`seconds` (rounded down, at least 1 microsecond) as a `grpc-timeout`, in the finest unit that 8 digits allow."""
    number: cython.longlong = 99_999_999
    unit: cython.int = 0x48
    if seconds < 99.999999:
        number = cython.cast(cython.longlong, seconds * 1e6 + 1e-3) if seconds > 1e-6 else 1
        unit = 0x75
    elif seconds < 99_999.999:
        number = cython.cast(cython.longlong, seconds * 1e3 + 1e-3)
        unit = 0x6D
    elif seconds < 99_999_999.0:
        number = cython.cast(cython.longlong, seconds)
        unit = 0x53
    elif seconds < 99_999_999.0 * 3600.0:
        number = cython.cast(cython.longlong, seconds / 3600.0)
    scratch: bytearray = SCRATCH
    at: cython.Py_ssize_t = 15
    scratch[15] = unit
    while True:
        at -= 1
        scratch[at] = 0x30 + number % 10
        number //= 10
        if number == 0:
            return octets_of(scratch, at, 16 - at)


def grpc_status_of(http_status: cython.int) -> cython.int:
    """The gRPC status that a caller makes of a response without one.

    https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
    """
    if http_status == 400:
        return 13
    if http_status == 401:
        return 16
    if http_status == 403:
        return 7
    if http_status == 404:
        return 12
    if http_status == 429 or 502 <= http_status <= 504:
        return 14
    return 2


def frame(message: bytes, compressed: cython.bint = False) -> bytes:
    """`message` with its five-octet prefix."""
    return (b"\x01" if compressed else b"\x00") + len(message).to_bytes(4, "big") + message


def encode_message(text: str) -> bytes:
    """`text` as the value of `grpc-message`: UTF-8, percent-encoded."""
    out: bytearray = bytearray()
    octet: cython.uchar
    for octet in text.encode("utf-8", "replace"):
        if SAFE[octet]:
            out.append(octet)
        else:
            out += b"%%%02X" % octet
    return bytes(out)


def decode_message(value: bytes) -> str:
    """The text of a `grpc-message`; what is not properly encoded stays as it is."""
    out: bytearray = bytearray()
    i: cython.Py_ssize_t = 0
    n: cython.Py_ssize_t = len(value)
    while i < n:
        if value[i] == 0x25 and i + 2 < n and value[i + 1] in HEX_DIGITS and value[i + 2] in HEX_DIGITS:
            out.append(int(value[i + 1 : i + 3], 16))
            i += 3
        else:
            out.append(value[i])
            i += 1
    return out.decode("utf-8", "replace")


class MessageDecoder:
    """Cuts a stream of DATA into messages. `limit`: octets of one message. Compressed messages are refused."""

    def __init__(self, limit: cython.Py_ssize_t = MAX_MESSAGE) -> None:
        self.limit: int = limit
        self.buffer: bytearray = bytearray()

    @property
    def pending(self) -> int:
        """Octets of a message that is not complete."""
        return len(self.buffer)

    def feed(self, data: bytes) -> list[Any]:
        """The messages that `data` completes. MessageError: a message over the limit, or compressed."""
        messages: list[Any] = []
        buffer: bytearray = self.buffer
        buffer += data
        at: cython.Py_ssize_t = 0
        n: cython.Py_ssize_t
        while len(buffer) - at >= 5:
            n = int.from_bytes(buffer[at + 1 : at + 5], "big")
            if buffer[at] != 0:
                raise MessageError("compressed message, but no compression was agreed on" if buffer[at] == 1
                                   else f"message flag {buffer[at]} is unknown")
            if n > self.limit:
                raise MessageError(f"message of {n} octets, at most {self.limit}")
            if len(buffer) - at - 5 < n:
                break
            messages.append(bytes(buffer[at + 5 : at + 5 + n]))
            at += 5 + n
        if at:
            del buffer[:at]
        return messages
