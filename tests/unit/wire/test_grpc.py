from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.wire.errors import MessageError
from mesh.wire.grpc import (
    STATUS_NAMES,
    MessageDecoder,
    decode_message,
    encode_message,
    format_timeout,
    frame,
    grpc_status_of,
    parse_timeout,
)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"100m", 0.1),
        (b"100000u", 0.1),
        (b"100000000n", -1.0),
        (b"99999999n", 0.099999999),
        (b"0S", 0.0),
        (b"00000001S", 1.0),
        (b"99999999H", 99999999 * 3600.0),
        (b"", -1.0),
        (b"S", -1.0),
        (b"1", -1.0),
        (b"1s", -1.0),
        (b"-1S", -1.0),
        (b"+1S", -1.0),
        (b"1.5S", -1.0),
        (b"1 S", -1.0),
        (b"123456789S", -1.0),
        (b"1SS", -1.0),
        (b"\xb2S", -1.0),
    ],
)
def test_parse_timeout(value: bytes, seconds: float) -> None:
    assert parse_timeout(value) == seconds


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        (0.0, b"1u"),
        (-5.0, b"1u"),
        (1e-9, b"1u"),
        (0.25, b"250000u"),
        (1.5, b"1500000u"),
        (99.5, b"99500000u"),
        (100.0, b"100000m"),
        (99_999.0, b"99999000m"),
        (100_000.0, b"100000S"),
        (1e9, b"277777H"),
        (1e30, b"99999999H"),
        (float("inf"), b"99999999H"),
    ],
)
def test_format_timeout(seconds: float, value: bytes) -> None:
    assert format_timeout(seconds) == value


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.floats(1e-5, 3e8))
def test_a_timeout_never_grows_and_hardly_shrinks(seconds: float) -> None:
    value = format_timeout(seconds)
    assert len(value) <= 9
    assert seconds * 0.999 - 1e-6 <= parse_timeout(value) <= seconds * (1 + 1e-12) + 1e-8


@pytest.mark.parametrize(
    ("http", "grpc"),
    [
        (200, 2),
        (400, 13),
        (401, 16),
        (403, 7),
        (404, 12),
        (429, 14),
        (500, 2),
        (502, 14),
        (503, 14),
        (504, 14),
        (505, 2),
    ],
)
def test_grpc_status_of(http: int, grpc: int) -> None:
    assert grpc_status_of(http) == grpc


def test_status_names() -> None:
    assert len(STATUS_NAMES) == 17
    assert STATUS_NAMES[14] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", b""),
        ("plain text ~", b"plain text ~"),
        ("100%", b"100%25"),
        ("a\nb", b"a%0Ab"),
        ("é", b"%C3%A9"),
        ("\x7f", b"%7F"),
    ],
)
def test_messages(text: str, value: bytes) -> None:
    assert encode_message(text) == value
    assert decode_message(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"%", "%"),
        (b"%4", "%4"),
        (b"%zz", "%zz"),
        (b"%+1", "%+1"),
        (b"% 1", "% 1"),
        (b"%1_", "%1_"),
        (b"%41%", "A%"),
        (b"%e9", "�"),
        (b"\xc3\xa9", "é"),
    ],
)
def test_badly_encoded_messages(value: bytes, text: str) -> None:
    assert decode_message(value) == text


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.text(max_size=50))
def test_messages_round_trip(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert decode_message(encode_message(text)) == text


MESSAGES = [b"", b"a", b"x" * 1000, bytes(range(256))]


def test_frames_whole_byte_by_byte_and_with_more_behind() -> None:
    octets = b"".join(frame(message) for message in MESSAGES)
    assert MessageDecoder().feed(octets) == MESSAGES
    decoder = MessageDecoder()
    got = [message for i in range(len(octets)) for message in decoder.feed(octets[i : i + 1])]
    assert got == MESSAGES
    assert decoder.pending == 0
    assert decoder.feed(octets + b"\0\0\0") == MESSAGES
    assert decoder.pending == 3
    assert decoder.feed(b"\0\1z") == [b"z"]


def test_random_cuts() -> None:
    rng = random.Random(3)
    octets = b"".join(frame(message) for message in MESSAGES) * 3
    for _ in range(50):
        decoder = MessageDecoder()
        got = []
        at = 0
        while at < len(octets):
            n = rng.choice((1, 4, 5, 6, 300))
            got += decoder.feed(octets[at : at + n])
            at += n
        assert got == MESSAGES * 3


@pytest.mark.parametrize("octets", [frame(b"12345"), frame(b"", True), b"\x02\0\0\0\0", b"\0\xff\xff\xff\xff"])
def test_what_is_refused(octets: bytes) -> None:
    with pytest.raises(MessageError):
        MessageDecoder(4).feed(octets)


def test_the_limit_itself_is_allowed() -> None:
    assert MessageDecoder(4).feed(frame(b"1234")) == [b"1234"]
