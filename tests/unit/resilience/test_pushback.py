"""What servers say about when to come back, and who is left alone for how long."""

from __future__ import annotations

import pytest

from mesh.balance.node import Node, NodeSet
from mesh.model import Endpoint
from mesh.resilience.pushback import (
    LONGEST_REST,
    MOST_RESTING,
    NEVER,
    Resting,
    asked_to_wait,
    reconnect_rest,
    unix_time,
)

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110


@pytest.mark.parametrize(("value", "seconds"), [
    (b"0", 0.0), (b"1", 0.001), (b"1500", 1.5), (b"2147483647", 2_147_483.647),
    (b"-1", NEVER), (b"", NEVER), (b"1.5", NEVER), (b"soon", NEVER), (b"+1", NEVER), (b" 1", NEVER), (b"1" * 11, NEVER),
    ("٣".encode(), NEVER)])
def test_grpcs_pushback_in_milliseconds(value: bytes, seconds: float) -> None:
    assert asked_to_wait(value, None, NOW) == seconds
    assert asked_to_wait(value, b"7", NOW) == seconds


@pytest.mark.parametrize(("value", "seconds"), [
    (b"0", 0.0), (b"120", 120.0), (b"9999999999", 9_999_999_999.0), (b"1" * 11, NEVER), (b"-1", 0.0), (b"", 0.0),
    (b"1.5", 0.0), (b"soon", 0.0), (b"Sun, 06 Nov 1994 08:49:47 GMT", 10.0), (b"Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
    (b"Sun, 06 Nov 1994 08:00:00 GMT", 0.0), (b"Sunday, 06-Nov-94 08:49:38 GMT", 1.0),
    (b"Sun Nov  6 08:50:37 1994", 60.0), (b"Mon, 07 Nov 1994 08:49:37 GMT", 86_400.0)])
def test_retry_after(value: bytes, seconds: float) -> None:
    assert asked_to_wait(None, value, NOW) == seconds


def test_a_server_that_says_nothing() -> None:
    assert asked_to_wait(None, None, NOW) == 0.0


@pytest.mark.parametrize(("date", "unix"), [
    (b"Thu, 01 Jan 1970 00:00:00 GMT", 0.0), (b"Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600.0),
    (b"Fri, 31 Dec 1999 23:59:60 GMT", 946_684_800.0), (b"Tue, 19 Jan 2038 03:14:08 GMT", 2_147_483_648.0),
    (b"Wednesday, 01-Jan-70 00:00:00 GMT", 0.0), (b"Sunday, 01-Jan-45 00:00:00 GMT", -788_918_400.0),
    (b"Sunday, 01-Jan-44 00:00:00 GMT", 2_335_219_200.0 - 3_155_760_000.0),
    (b"Thu Jan  1 00:00:00 1970", 0.0), (b"Sun Nov 16 08:49:37 1994", NOW + 864_000)])
def test_the_three_forms_of_a_date(date: bytes, unix: float) -> None:
    assert unix_time(date, NOW) == unix


def test_two_digits_mean_the_year_that_is_not_far_ahead() -> None:
    in_2026 = 1_790_000_000.0
    assert unix_time(b"Monday, 01-Jan-76 00:00:00 GMT", in_2026) == 3_345_062_400.0
    assert unix_time(b"Saturday, 01-Jan-77 00:00:00 GMT", in_2026) == 220_924_800.0


@pytest.mark.parametrize("date", [
    b"", b"Sun, 6 Nov 1994 08:49:37 GMT", b"Sun, 06 Nov 1994 08:49:37", b"Sun, 06 Nov 1994 08:49:37 UTC",
    b"Sun, 06 Nov 1994 24:00:00 GMT", b"Sun, 06 Nov 1994 08:60:00 GMT", b"Sun, 06 Nov 1994 08:49:61 GMT",
    b"Sun, 00 Nov 1994 08:49:37 GMT", b"Sun, 32 Nov 1994 08:49:37 GMT", b"Sun, 06 Nix 1994 08:49:37 GMT",
    b"sun, 06 nov 1994 08:49:37 gmt", b"Sun, 06 Nov 1994 08:49:37 GMT ", b"\xff" * 29])
def test_what_is_no_date(date: bytes) -> None:
    assert unix_time(date, NOW) is None
    assert asked_to_wait(None, date, NOW) == 0.0


def nodes(count: int) -> tuple[NodeSet, list[Node]]:
    known = NodeSet()
    known.reconcile([Endpoint("cart", f"n{i:02}", "127.0.0.1", 1 + i) for i in range(count)])
    return known, known.nodes


def test_who_asked_is_avoided_until_then() -> None:
    _, (a, b, c, _) = nodes(4)
    resting = Resting()
    resting.add(a, 2.0, 10.0)
    assert resting.beside(None, 11.9, 4) == [a]
    assert resting.beside([c], 11.9, 4) == [a, c]
    resting.add(b, 5.0, 11.0)
    assert resting.beside(None, 12.0, 4) == [b]
    assert resting
    assert resting.beside([c], 16.0, 4) == [c]
    assert resting.beside(None, 16.0, 4) is None
    assert not resting


def test_not_more_than_half_are_avoided() -> None:
    _, some = nodes(5)
    resting = Resting()
    for count, node in enumerate(some, 1):
        resting.add(node, 5.0, 0.0)
        assert resting.beside(None, 1.0, 5) == (some[:count] if count <= 2 else None)
    assert resting.beside([some[4]], 1.0, 5) == [some[4]]


def test_nobody_rests_for_longer_than_a_minute() -> None:
    _, (a, _) = nodes(2)
    resting = Resting()
    resting.add(a, 1e9, 0.0)
    assert resting.beside(None, LONGEST_REST - 0.1, 2) == [a]
    assert resting.beside(None, LONGEST_REST, 2) is None


def test_few_rest_at_a_time_and_none_that_has_left() -> None:
    known, some = nodes(MOST_RESTING + 5)
    resting = Resting()
    for node in some:
        resting.add(node, 5.0, 0.0)
    assert resting.beside(None, 1.0, 100) == some[:MOST_RESTING]
    resting.add(some[0], 9.0, 0.0)
    assert resting.beside(None, 6.0, 100) == [some[0]]
    known.reconcile([])
    assert resting.beside(None, 6.0, 100) is None


@pytest.mark.parametrize(("failures", "seconds"), [(0, 1.0), (1, 1.0), (2, 1.6), (3, 2.56), (4, 4.096), (5, 5.0),
                                                   (10**9, 5.0)])
def test_how_long_who_can_not_be_reached_is_avoided(failures: int, seconds: float) -> None:
    assert reconnect_rest(failures) == pytest.approx(seconds)
