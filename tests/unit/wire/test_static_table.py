from __future__ import annotations

from hpack.table import HeaderTable

from mesh.wire.static_table import STATIC_TABLE


def test_it_is_the_table_of_the_rfc() -> None:
    assert tuple(HeaderTable.STATIC_TABLE) == STATIC_TABLE
