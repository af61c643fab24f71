from __future__ import annotations

import pytest

from controlplane.errors import MAX_MESSAGE, one_line


@pytest.mark.parametrize(("text", "line"), [
    ("a", "a"), ("a\nb\r\n c", "a b c"), ("\x00\x1b[31mred", "[31mred"), ("  ", ""), ("naïve ☃", "naïve ☃"),
    ("a\u2028b", "a b")])
def test_one_line(text, line):
    assert one_line(text) == line


def test_one_line_is_bounded():
    assert len(one_line("x" * 100_000)) == MAX_MESSAGE
