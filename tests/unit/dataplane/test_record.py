"""Record and Recorder: defaults, ranges, order, bound, wake-up."""

from __future__ import annotations

import pytest

from mesh.dataplane.record import CLIENT, GRPC, Record, Recorder


def numbered(number: int) -> Record:
    record = Record()
    record.span_id = number
    return record


def test_a_new_record_says_nothing() -> None:
    record = Record()
    assert (record.kind, record.grpc_status, record.http_status) == (CLIENT, -1, 0)
    assert (record.attempt, record.attempts) == (1, 1)
    assert (record.service, record.path, record.reason, record.events) == ("", b"", "", None)
    record.protocol = GRPC
    assert Record().protocol == 0


def test_ids_hold_64_unsigned_bits() -> None:
    record = Record()
    record.trace_hi = record.trace_lo = record.span_id = record.parent_id = 2**64 - 1
    assert record.trace_hi == record.parent_id == 2**64 - 1


def test_drain_is_first_in_first_out_and_bounded() -> None:
    recorder = Recorder(10)
    for number in range(5):
        assert recorder.add(numbered(number))
    assert [record.span_id for record in recorder.drain(3)] == [0, 1, 2]
    assert recorder.pending == 2
    assert [record.span_id for record in recorder.drain(100)] == [3, 4]
    assert recorder.drain(100) == []


def test_when_full_the_newest_is_dropped_and_counted() -> None:
    recorder = Recorder(2)
    assert [bool(recorder.add(numbered(number))) for number in range(4)] == [True, True, False, False]
    assert recorder.dropped == 2
    assert [record.span_id for record in recorder.drain(9)] == [0, 1]
    assert recorder.add(numbered(9))


@pytest.mark.parametrize(("capacity", "half"), [(1, 1), (4, 2), (5, 3)])
def test_wakes_each_time_it_becomes_half_full(capacity: int, half: int) -> None:
    recorder = Recorder(capacity)
    calls: list[int] = []
    recorder.wake = lambda: calls.append(recorder.pending)
    for _ in range(capacity):
        recorder.add(Record())
    assert calls == [half]
    recorder.drain(capacity)
    for _ in range(capacity):
        recorder.add(Record())
    assert calls == [half, half]


def test_refuses_no_capacity() -> None:
    with pytest.raises(ValueError, match="below 1"):
        Recorder(0)
