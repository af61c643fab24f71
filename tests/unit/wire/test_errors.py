from __future__ import annotations

import pytest

from mesh.wire import errors


def test_codes_have_the_names_of_the_rfc() -> None:
    assert errors.CODE_NAMES[0] == "NO_ERROR"
    assert errors.CODE_NAMES[11] == "ENHANCE_YOUR_CALM"
    assert sorted(errors.CODE_NAMES) == list(range(14))


@pytest.mark.parametrize(("code", "text"), [(1, "PROTOCOL_ERROR: because"), (99, "99: because")])
def test_a_connection_error_says_code_and_reason(code: int, text: str) -> None:
    error = errors.ConnectionError_(code, "because")
    assert str(error) == text
    assert (error.code, error.reason) == (code, "because")
