"""The last good state on disk: there and back, damaged in every way, replaced atomically."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.discovery.state import StateFile
from mesh.xds.v3.discovery_pb2 import Resource

RESOURCES = [Resource(name="cart", version="12"), Resource(name="cart/cart-0", version="13")]
BYTES = [resource.SerializeToString() for resource in RESOURCES]


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "made" / "on demand", "front", "front-0")


def test_no_two_sidecars_share_a_file(tmp_path: Path) -> None:
    assert StateFile(tmp_path, "a-b", "c").path != StateFile(tmp_path, "a", "b-c").path


def test_there_and_back(state: StateFile) -> None:
    assert state.path.name == "front.front-0.state"
    assert state.load() == []
    state.save(BYTES)
    assert state.load() == RESOURCES
    state.save([])
    assert state.load() == []
    assert [path.name for path in state.path.parent.iterdir()] == ["front.front-0.state"]


def test_a_further_worker_has_a_file_of_its_own_and_begins_with_the_firsts(tmp_path: Path) -> None:
    first, second = StateFile(tmp_path, "web", "web-0"), StateFile(tmp_path, "web", "web-0", 1)
    assert second.path.name == "web.web-0.1.state"
    assert second.load() == []
    first.save(BYTES)
    assert second.load() == first.load() != []
    second.save(BYTES[:1])
    assert (len(second.load()), len(first.load())) == (1, len(BYTES))


@pytest.mark.slow
def test_every_truncation_and_every_flipped_bit_is_noticed(state: StateFile, caplog: pytest.LogCaptureFixture) -> None:
    state.save(BYTES)
    good = state.path.read_bytes()
    damaged = [good[:length] for length in range(len(good))]
    damaged += [good[:at] + bytes((good[at] ^ 1 << at % 8,)) + good[at + 1:] for at in range(len(good))]
    for data in damaged:
        caplog.clear()
        state.path.write_bytes(data)
        assert state.load() == []
        assert len(caplog.records) == 1
    state.path.write_bytes(good)
    assert state.load() == RESOURCES


@pytest.mark.parametrize("content", [b"", b"{}", b"mesh state 2\n" + bytes(40), bytes(1000)])
def test_a_foreign_file_is_ignored(state: StateFile, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    state.path.parent.mkdir(parents=True)
    state.path.write_bytes(content)
    assert state.load() == []
    assert "not a state file of this version" in caplog.text


@pytest.mark.parametrize("records", [b"\x00\x00\x00\x09ab", b"\x00\x00", b"\x00\x00\x00\x01\xff"])
def test_a_right_sum_over_wrong_records_is_ignored(state: StateFile, records: bytes) -> None:
    import hashlib

    state.save([])
    state.path.write_bytes(b"mesh state 1\n" + hashlib.sha256(records).digest() + records)
    assert state.load() == []


def test_a_directory_in_its_place_is_no_crash(state: StateFile, caplog: pytest.LogCaptureFixture) -> None:
    state.path.mkdir(parents=True)
    assert state.load() == []
    assert "ignoring saved state" in caplog.text
    with pytest.raises(OSError, match="directory"):
        state.save(BYTES)
    assert [path.name for path in state.path.parent.iterdir()] == ["front.front-0.state"]
