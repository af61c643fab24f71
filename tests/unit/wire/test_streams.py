from __future__ import annotations

import random

import pytest

from mesh.wire.codec import Stream
from mesh.wire.streams import StreamTable

ENDED, PEER_RESET, OWN_RESET = 1, 2, 3


def stream(stream_id: int) -> Stream:
    made = Stream()
    made.begin(stream_id, 65535, 65535, 0.0)
    return made


def test_random_streams_come_and_go() -> None:
    rng = random.Random(5)
    table = StreamTable()
    model: dict[int, Stream] = {}
    next_id = 1
    for _ in range(20_000):
        if model and rng.random() < 0.5:
            gone = model.pop(rng.choice(list(model)))
            table.remove(gone, ENDED)
            assert table.find(gone.id) is None
        else:
            model[next_id] = stream(next_id)
            table.add(model[next_id])
            next_id += rng.choice((2, 2, 2, 10, 16, 64))
        probe = rng.choice(list(model)) if model else 1
        assert table.find(probe) is model.get(probe)
        assert table.count == len(model)
    assert sorted(s.id for s in table.streams()) == sorted(model)


def test_a_thousand_open_streams() -> None:
    table = StreamTable()
    streams = [stream(2 * i + 1) for i in range(1500)]
    for each in streams:
        table.add(each)
    assert all(table.find(each.id) is each for each in streams)
    for each in streams:
        table.remove(each, ENDED)
    assert table.count == 0
    assert table.streams() == []


@pytest.mark.parametrize("how", [ENDED, PEER_RESET, OWN_RESET])
@pytest.mark.parametrize("stream_id", [1, 3, 63, 65, 2**20 + 1, 2**31 - 1])
def test_how_a_stream_ended_is_known_for_a_while(how: int, stream_id: int) -> None:
    table = StreamTable()
    assert table.fate(stream_id) == 0
    table.remember(stream_id, how)
    assert table.fate(stream_id) == how
    table.remember(stream_id ^ 64, ENDED)  # another stream at the same place
    assert table.fate(stream_id ^ 64) == ENDED
    assert table.fate(stream_id) == (OWN_RESET if how == OWN_RESET else 0)


def test_own_resets_are_remembered_up_to_a_bound() -> None:
    table = StreamTable()
    for stream_id in range(1, 4001, 2):
        table.remember(stream_id, OWN_RESET)
    remembered = [stream_id for stream_id in range(1, 4001, 2) if table.fate(stream_id) == OWN_RESET]
    assert remembered == list(range(4001 - 2048, 4001, 2))
