from __future__ import annotations

import pytest

from mesh.wire import h1_syntax


def word(text: bytes) -> tuple[bytearray, int, int]:
    """`text` in the middle of a buffer that must not be looked at."""
    return bytearray(b"\x00" + text + b"\x00"), 1, 1 + len(text)


def test_tokens_are_those_of_the_rfc() -> None:
    tokens = {octet for octet in range(256) if h1_syntax.is_token(*word(bytes((octet,))))}
    assert bytes(sorted(tokens)) == (
        b"!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~")


@pytest.mark.parametrize(("text", "right"), [(b"", False), (b"GET", True), (b"G T", False), (b"G\x80", False)])
def test_a_token_is_whole_and_not_empty(text: bytes, right: bool) -> None:
    assert h1_syntax.is_token(*word(text)) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [(b"/", True), (b"/a?b=%20|^{}\"<>\\", True), (b"", False), (b"/a b", False), (b"/#x", False), (b"/\x7f", False),
     (b"/\xc3\xa9", False), (b"/\t", False), (b"/\x00", False)],
)
def test_a_target_is_visible_ascii_without_a_fragment(text: bytes, right: bool) -> None:
    assert h1_syntax.is_target(*word(text)) is right
    assert h1_syntax.is_path(text) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [(b"traceparent", True), (b"TraceParent: 1", True), (b"tracepar", False), (b"tracestatet", False)],
)
def test_words_are_the_same_in_any_case(text: bytes, right: bool) -> None:
    assert h1_syntax.same_word(*word(text), b"traceparent") is right


@pytest.mark.parametrize(
    ("authority", "right"),
    [(b"cart", True), (b"cart:80", True), (b"cart:", True), (b"10.0.0.1:65535", True), (b"[::1]:8080", True),
     (b"a_b-c.d~e", True), (b"%41", True), (b"cart:00080", True), (b"[::1]:", True), (b"", False), (b":80", False),
     (b"cart:65536", False), (b"cart:8o", False), (b"cart:123456", False), (b"cart:+8", False), (b"a,b", False),
     (b"a b", False), (b"u@cart", False), (b"cart/x", False), (b"[::1", False), (b"::1", False), (b"%4", False),
     (b"%4g", False), (b"%41%", False), (b"[]", False), (b"[:]", False), (b"[1.2.3.4]", False), (b"[::1]x", False),
     (b"[::g]", False), (b"a\x00", False), (b"caf\xe9", False), (b"a:1:2", False), (b"a?b", False)],
)
def test_authorities(authority: bytes, right: bool) -> None:
    assert (h1_syntax.authority_problem(authority) is None) is right


@pytest.mark.parametrize(("authority", "right"), [(b"cart", False), (b"cart:", False), (b"cart:443", True)])
def test_a_port_can_be_asked_for(authority: bytes, right: bool) -> None:
    assert (h1_syntax.authority_problem(authority, True) is None) is right


@pytest.mark.parametrize(
    ("method", "right"), [(b"GET", True), (b"get", False), (b"Connect", False), (b"brew", True), (b"PROPFIND", True)]
)
def test_a_known_method_has_one_spelling(method: bytes, right: bool) -> None:
    assert (h1_syntax.method_problem(method) is None) is right


@pytest.mark.parametrize(
    ("value", "found"),
    [(b"", []), (b"a", [b"a"]), (b" , A ,\tb\t,,", [b"a", b"b"]), (b"chunked;x", [b"chunked;x"]), (b"a b", [b"a b"])],
)
def test_lists(value: bytes, found: list[bytes]) -> None:
    assert h1_syntax.members(value) == found


def test_lower_token() -> None:
    assert h1_syntax.lower_token(*word(b"Content-Type")) == b"content-type"
