from __future__ import annotations

import random
import sqlite3

import pytest

from controlplane.errors import StoreError
from controlplane.traces import store as module
from controlplane.traces.intake import ResourceRow, SpanRow
from controlplane.traces.store import TraceStore

MIB = 1 << 20
DAY = 86_400.0
SECOND = 1_000_000_000


def resource(service: str) -> ResourceRow:
    return ResourceRow(service.encode().ljust(16, b"\0"), service, b"resource of " + service.encode())


def span(trace: int, number: int = 1, *, start: int = 0, end: int = 10, error: bool = False, service: str = "cart",
         size: int = 20) -> SpanRow:
    return SpanRow(trace.to_bytes(16, "big"), number.to_bytes(8, "big"), start, end, error, resource(service),
                   b"m" * size)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "traces.sqlite"


@pytest.fixture
def make(path):
    opened = []

    def opener(max_size: int = 8 * MIB, max_age: float = DAY) -> TraceStore:
        opened.append(TraceStore(path, max_size, max_age))
        return opened[-1]

    yield opener
    for one in opened:
        one.close()


def matching(store: TraceStore, service: str = "", *, errors_only: bool = False, min_duration: int = 0,
             limit: int = 100):
    reader = store.reader()
    try:
        return [int.from_bytes(found.trace_id, "big") for found in reader.matching(
            service, errors_only=errors_only, min_duration=min_duration, limit=limit)]
    finally:
        reader.close()


def find(store: TraceStore, trace: int):
    reader = store.reader()
    try:
        return reader.find(trace.to_bytes(16, "big"), trace.to_bytes(16, "big"))
    finally:
        reader.close()


def test_spans_of_a_trace_come_together_from_several_writes(make):
    store = make()
    store.write([span(1, 1, service="web"), span(2, 1)], 0)
    store.write([span(1, 2, service="cart"), span(1, 3, service="web")], 0)
    (found,) = find(store, 1)
    assert sorted(service for service, _, _ in found.spans) == ["cart", "web", "web"]
    assert {message for _, message, _ in found.spans} == {b"resource of web", b"resource of cart"}
    assert find(store, 3) == []


def test_a_span_that_is_sent_twice_is_kept_once(make):
    store = make()
    store.write([span(1, 1), span(1, 1)], 0)
    store.write([span(1, 1)], 0)
    assert len(find(store, 1)[0].spans) == 1


def test_filters_and_order(make):
    store = make()
    store.write([span(1, start=100, end=150), span(2, start=300, end=301, error=True),
                 span(3, start=200, end=260, service="pay"), span(3, 2, start=210, end=290, error=True)], 0)
    assert matching(store) == [2, 3, 1]
    assert matching(store, limit=2) == [2, 3]
    assert matching(store, "pay") == [3]
    assert matching(store, "cart") == [2, 3, 1]
    assert matching(store, "none") == []
    assert matching(store, errors_only=True) == [2, 3]
    assert matching(store, min_duration=50) == [3, 1]
    assert matching(store, min_duration=51) == [3]
    assert matching(store, "pay", errors_only=True, min_duration=90) == [3]
    store.write([span(1, 2, start=50, end=60, error=True)], 0)
    assert matching(store, errors_only=True, min_duration=100) == [1]


def test_prefix_ranges_find_at_most_two(make):
    store = make()
    store.write([span(0xAB << 120), span(0xABC << 116), span(0xAC << 120)], 0)
    reader = store.reader()
    assert len(reader.find(b"\xab" + bytes(15), b"\xab" + b"\xff" * 15)) == 2
    assert len(reader.find(b"\xac" + bytes(15), b"\xac" + b"\xff" * 15)) == 1
    assert len(reader.find(bytes(16), b"\xff" * 16)) == 2
    reader.close()


def test_traces_older_than_the_limit_go_with_the_next_write_or_look(make):
    store = make(max_age=60.0)
    store.write([span(1)], 0)
    store.write([span(2)], 40 * SECOND)
    store.write([span(3)], 61 * SECOND)
    assert sorted(matching(store)) == [2, 3]
    store.expire(101 * SECOND)
    assert matching(store) == [3]
    store.expire(1000 * SECOND)
    assert matching(store) == []
    assert store._db.execute("SELECT count(*) FROM resource").fetchone() == (0,)
    assert store._db.execute("SELECT count(*) FROM span").fetchone() == (0,)
    assert store._db.execute("SELECT count(*) FROM trace_service").fetchone() == (0,)


def test_a_resource_stays_as_long_as_one_of_its_traces(make):
    store = make(max_age=60.0)
    store.write([span(1, service="web"), span(1, 2, service="old")], 0)
    store.write([span(2, service="web")], 50 * SECOND)
    store.expire(70 * SECOND)
    assert [service for service, _, _ in find(store, 2)[0].spans] == ["web"]
    assert store._db.execute("SELECT service FROM resource").fetchall() == [("web",)]


@pytest.mark.slow
def test_the_files_stay_within_the_limit_and_the_newest_traces_stay(make, path):
    limit = 4 * MIB
    store = make(limit)
    rng = random.Random(7)
    largest = 0
    written = 0
    for batch in range(80):
        spans = []
        for _ in range(60):
            written += 1
            trace = written | rng.getrandbits(90) << 38
            spans += [span(trace, number, start=written, end=written + 5,
                           service=rng.choice(("a", "b", "c")), size=rng.randint(100, 900)) for number in range(1, 5)]
        store.write(spans, batch)
        largest = max(largest, sum(file.stat().st_size for file in path.parent.iterdir()
                                   if not file.name.endswith("-shm")))
    assert largest <= limit
    kept = matching(store, limit=10_000)
    assert 500 < len(kept) < written
    starts = [trace & ((1 << 38) - 1) for trace in kept]
    assert starts == list(range(written, written - len(kept), -1))


def test_a_trace_larger_than_the_store_does_not_outgrow_it(make, path):
    store = make(4 * MIB)
    for batch in range(40):
        store.write([span(1, batch * 100 + number + 1, size=2000) for number in range(100)], batch)
    assert path.stat().st_size <= 4 * MIB


def test_a_lowered_limit_shrinks_the_file(make, path):
    store = make(16 * MIB)
    for number in range(1, 21):
        store.write([span(number, inner + 1, size=5000) for inner in range(100)], number)
    store.close()
    before = path.stat().st_size
    store = make(4 * MIB)
    store.expire(0)
    store.close()
    assert path.stat().st_size <= 4 * MIB < before


def test_a_trace_keeps_a_bounded_number_of_spans(make, monkeypatch):
    monkeypatch.setattr(module, "MAX_SPANS", 3)
    store = make()
    assert store.write([span(1, 1), span(1, 2)], 0) == []
    extra = [span(1, 3), span(1, 4), span(2, 1), span(1, 5)]
    assert store.write(extra, 0) == [extra[1], extra[3]]
    assert len(find(store, 1)[0].spans) == 3
    assert len(find(store, 2)[0].spans) == 1


def test_what_was_written_is_there_after_a_crash(make, path):
    make().write([span(1)], 0)
    again = make()
    assert matching(again) == [1]


def test_files_that_are_not_ours_are_refused(path):
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match=r"traces\.sqlite"):
        TraceStore(path, 8 * MIB, DAY)
    path.unlink()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE x (y)")
    db.commit()
    with pytest.raises(StoreError, match="not one of the mesh"):
        TraceStore(path, 8 * MIB, DAY)
    db.execute("DROP TABLE x")
    db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(StoreError, match="newer release"):
        TraceStore(path, 8 * MIB, DAY)


def test_a_failed_write_leaves_nothing_half_done(make):
    store = make()
    store.write([span(1)], 0)
    with pytest.raises(StoreError):
        store.write([span(2), span(3, start=1 << 70, end=1 << 70)], 0)
    assert matching(store) == [1]
    store.write([span(4)], 0)
    assert sorted(matching(store)) == [1, 4]
