"""The checks: what passes, what does not, and how a message says so."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mesh.errors import InvalidResource
from mesh.model.checks import check_host, check_name, check_range, check_text, check_whole


@pytest.mark.parametrize(("check", "value"), [
    (lambda value: check_range("x", value, 0, 1), 0), (lambda value: check_range("x", value, 0, 1), 1.0),
    (lambda value: check_whole("x", value, 1, 9), 9), (lambda value: check_text("x", value, 4), "ää"),
    (lambda value: check_text("x", value, 4), ""), (check_name, "cart-1"), (check_host, "10.0.0.1"),
    (check_host, "::1")])
def test_what_passes(check: Any, value: Any):
    check(value)


@pytest.mark.parametrize(("check", "value", "message"), [
    (lambda value: check_range("x", value, 0, 1000), 1000.5, "x: 1000.5 is outside 0..1,000"),
    (lambda value: check_range("x", value, 0, 1), math.nan, "x: nan is outside 0..1"),
    (lambda value: check_range("x", value, 0, 1), True, "x: True is not a number"),
    (lambda value: check_whole("x", value, 1, 9), 2.0, "x: 2.0 is not a whole number"),
    (lambda value: check_whole("x", value, 1, 9), 0, "x: 0 is outside 1..9"),
    (lambda value: check_text("x", value, 4), "äää", "x: 6 bytes, at most 4"),
    (lambda value: check_text("x", value, 4), 7, "x: 7 is not text"),
    (lambda value: check_text("x", value, 4), "\ud800", "x: '\\ud800' is not Unicode text"),
    (lambda value: check_name(value, "service"), "A", "service: 'A' is not a name"),
    (check_host, "1.2.3.256", "host: '1.2.3.256' is neither")])
def test_what_does_not(check: Any, value: Any, message: str):
    with pytest.raises(InvalidResource) as caught:
        check(value)
    assert str(caught.value).startswith(message)
