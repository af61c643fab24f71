from __future__ import annotations

import random
import socket

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mesh.wire.ip_address import format_ip, parse_ipv4, parse_ipv6


def theirs(family: int, text: bytes) -> bytes | None:
    try:
        return socket.inet_pton(family, text.decode("latin-1"))
    except (OSError, ValueError, UnicodeError):
        return None


IPV4 = [
    b"0.0.0.0", b"1.2.3.4", b"255.255.255.255", b"256.1.1.1", b"1.2.3", b"1.2.3.4.5", b"1..2.3", b".1.2.3",
    b"1.2.3.", b"01.2.3.4", b"1.2.3.00", b"1.2.3.4 ", b" 1.2.3.4", b"1.2.3.-4", b"+1.2.3.4", b"1.2.3.a",
    b"0x1.2.3.4", b"", b".", b"...", b"1000.2.3.4", b"1.2.3.4\0", b"1,2,3,4",
]  # fmt: skip
IPV6 = [
    b"::", b"::1", b"1::", b"1:2:3:4:5:6:7:8", b"1:2:3:4:5:6:7::", b"::2:3:4:5:6:7:8", b"1:2:3:4::5:6:7:8",
    b"1:2:3:4:5:6:7", b"1:2:3:4:5:6:7:8:9", b"1::2::3", b":::", b"1:::2", b":1", b"1:", b":", b"", b"::12345",
    b"::g", b"::ffff:1.2.3.4", b"::1.2.3.4", b"1:2:3:4:5:6:1.2.3.4", b"1:2:3:4:5:6:7:1.2.3.4", b"1.2.3.4::",
    b"::1.2.3.4:5", b"::1.2.3", b"::01.2.3.4", b"fe80::1%eth0", b"[::1]", b"ABCD:ef01::", b"::00001",
    b"0000:0000:0000:0000:0000:0000:0000:0000", b"1.2.3.4", b"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
    b"::1 ", b"1:2:3:4:5:6:7:8::", b"::1:2:3:4:5:6:7:8", b"0:0::\0",
]  # fmt: skip


@pytest.mark.parametrize("text", IPV4)
def test_ipv4_as_inet_pton(text: bytes) -> None:
    assert parse_ipv4(text) == theirs(socket.AF_INET, text)


@pytest.mark.parametrize("text", IPV6)
def test_ipv6_as_inet_pton(text: bytes) -> None:
    assert parse_ipv6(text) == theirs(socket.AF_INET6, text)


def test_mutations_as_inet_pton() -> None:
    """Every single octet of every example changed to each octet that means something."""
    for text in IPV4 + IPV6:
        for at in range(len(text) + 1):
            for octet in b":.019fgF %\0":
                for changed in (text[:at] + bytes((octet,)) + text[at:], text[:at] + bytes((octet,)) + text[at + 1 :],
                                text[:at] + text[at + 1 :]):
                    assert parse_ipv4(changed) == theirs(socket.AF_INET, changed), changed
                    assert parse_ipv6(changed) == theirs(socket.AF_INET6, changed), changed


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(min_size=4, max_size=4))
def test_ipv4_there_and_back(octets: bytes) -> None:
    text = format_ip(octets)
    assert text == socket.inet_ntop(socket.AF_INET, octets)
    assert parse_ipv4(text.encode()) == octets


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"\0\0", b"\0\1", b"\xff\xff", b"\xab\0"]), min_size=8, max_size=8).map(b"".join))
@example(bytes(16))
@example(bytes(15) + b"\1")
@example(bytes(12) + b"\1\2\3\4")
@example(bytes(10) + b"\xff\xff\1\2\3\4")
def test_ipv6_there_and_back(octets: bytes) -> None:
    text = format_ip(octets)
    assert text == socket.inet_ntop(socket.AF_INET6, octets)
    assert parse_ipv6(text.encode()) == octets


def test_seeded_addresses_there_and_back() -> None:
    rng = random.Random(6)
    for _ in range(300):
        octets = rng.randbytes(16)
        assert format_ip(octets) == socket.inet_ntop(socket.AF_INET6, octets)
        assert parse_ipv6(format_ip(octets).encode()) == octets


@pytest.mark.parametrize("size", [0, 3, 5, 15, 17])
def test_other_sizes_are_no_address(size: int) -> None:
    with pytest.raises(ValueError, match="no IP address"):
        format_ip(bytes(size))
