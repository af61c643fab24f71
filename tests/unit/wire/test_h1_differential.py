"""Against h11 and llhttp: what they refuse is refused, and what is taken they read as the same messages.

The rules that make an exception stand in `h1_oracles` (`NO_OPINION`), each with its reason.
"""

from __future__ import annotations

import random

import pytest
from h1_octets import CODINGS, EVIL_CHUNKS, LENGTHS, random_requests, random_responses
from h1_oracles import (
    REFUSES,
    WAITS,
    Told,
    disagreement,
    h11_requests,
    h11_responses,
    llhttp_requests,
    llhttp_responses,
    our_requests,
    our_responses,
)

TAME = (0.98, 0.9, 0.8)


def judge(octets: bytes, ours: Told, others: dict[str, Told], longer: Told) -> None:
    """`longer`: what we make of the octets and two ends of line more."""
    for name, theirs in others.items():
        problem = disagreement(ours, theirs)
        if problem == "they refuse the rest":
            # They do so at the first wrong octet, we at the end of the section.
            problem = problem if longer[1] == WAITS or len(longer[0]) > len(ours[0]) else None
        assert problem is None, f"{name}: {problem}\n{octets!r}\nours:   {ours}\ntheirs: {theirs}"


def judge_requests(octets: bytes) -> Told:
    ours = our_requests(octets)
    longer = our_requests(octets + b"\r\n\r\n") if ours[1] == WAITS else ours
    judge(octets, ours, {"h11": h11_requests(octets), "llhttp": llhttp_requests(octets)}, longer)
    return ours


def judge_responses(octets: bytes) -> Told:
    ours = our_responses(octets)
    longer = our_responses(octets + b"\r\n\r\n") if ours[1] == WAITS else ours
    judge(octets, ours, {"h11": h11_responses(octets), "llhttp": llhttp_responses(octets)}, longer)
    return ours


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_requests(seed: int) -> None:
    rng = random.Random(seed)
    taken = refused = 0
    for _ in range(700):
        found, rest = judge_requests(random_requests(rng, rng.choice(TAME)))
        taken += bool(found)
        refused += rest == REFUSES
    assert taken > 200
    assert refused > 200


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_responses(seed: int) -> None:
    rng = random.Random(seed)
    taken = refused = 0
    for _ in range(700):
        found, rest = judge_responses(random_responses(rng, rng.choice(TAME)))
        taken += bool(found)
        refused += rest == REFUSES
    assert taken > 200
    assert refused > 200


@pytest.mark.slow
def test_random_octets_mean_the_same_however_they_are_cut() -> None:
    rng = random.Random(7)
    for _ in range(400):
        tame = rng.choice(TAME)
        octets = random_requests(rng, tame)
        cuts = tuple(sorted({rng.randrange(len(octets)) for _ in range(rng.randrange(6))} - {0}))
        for other in (cuts, tuple(range(1, len(octets)))):
            assert our_requests(octets, other) == our_requests(octets), (octets, other)
        octets = random_responses(rng, tame)
        cuts = tuple(sorted({rng.randrange(len(octets)) for _ in range(rng.randrange(6))} - {0}))
        for other in (cuts, tuple(range(1, len(octets)))):
            assert our_responses(octets, cuts=other) == our_responses(octets), (octets, other)


# -- request smuggling: two lines that frame, of which one of two servers might overlook one


SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: cart\r\n\r\n"
HEAD = b"POST / HTTP/1.1\r\nHost: cart\r\n"


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_length_and_a_coding(length: bytes, coding: bytes) -> None:
    """CL.TE and TE.CL: neither such a request nor anything behind its head is taken."""
    for first, second in ((length, coding), (coding, length)):
        for content in (b"0\r\n\r\n" + SMUGGLED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)):
            octets = HEAD + first + b"\r\n" + second + b"\r\n\r\n" + content
            found, _rest = judge_requests(octets)
            assert not found, octets


@pytest.mark.parametrize("other", LENGTHS + CODINGS)
def test_a_plain_length_and_another_line(other: bytes) -> None:
    for lines in ((b"Content-Length: 5", other), (other, b"Content-Length: 5")):
        octets = HEAD + b"\r\n".join(lines) + b"\r\n\r\nhello" + SMUGGLED
        found, rest = judge_requests(octets)
        assert rest == REFUSES, octets
        assert not found, octets


@pytest.mark.parametrize("first", CODINGS)
@pytest.mark.parametrize("second", CODINGS)
def test_two_codings(first: bytes, second: bytes) -> None:
    octets = HEAD + first + b"\r\n" + second + b"\r\n\r\n0\r\n\r\n" + SMUGGLED
    found, rest = judge_requests(octets)
    assert rest == REFUSES
    assert not found


@pytest.mark.parametrize("chunks", EVIL_CHUNKS)
def test_chunks_that_two_readers_could_cut_in_two_ways(chunks: bytes) -> None:
    found, rest = judge_requests(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + SMUGGLED)
    assert rest == REFUSES
    assert not found
    found, rest = judge_responses(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert rest == REFUSES
    assert not found
