"""Traces in one SQLite file of bounded size and age; the oldest go first.

What lives here: the schema, writing with eviction, and look-ups. What this must not know: OTLP, grpc, clocks (`now` is
handed in: nanoseconds since the epoch). Traces are numbered as they arrive and spans are clustered by that number, so
evicting the oldest frees whole pages, which the newest then reuse: the file stops growing at its limit and never needs
a VACUUM. The write-ahead log has its share of the limit. synchronous=NORMAL: a power cut may cost the last seconds of
traces, never the file.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from controlplane.errors import StoreError
from controlplane.traces.intake import ResourceRow, SpanRow

MAX_SPANS = 5_000  # of one trace; further ones are refused
_SHIFT = 13  # a span's id is its trace's number, then this many bits that count within the trace: clustered by trace
_SCHEMA_VERSION = 1
_APPLICATION_ID = 0x6D657374  # "mest": marks the file as ours
_CHUNK = 512 << 10  # bytes of spans in one transaction, which bounds the log
_EVICT = 64  # traces that go in one step of eviction at most
_OVERHEAD = 1.5  # pages that spans take, over their bytes: keys, half-full pages, indexes
_SCHEMA = """
CREATE TABLE trace (
    id INTEGER PRIMARY KEY, trace_id BLOB NOT NULL UNIQUE, received INTEGER NOT NULL,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, spans INTEGER NOT NULL, errors INTEGER NOT NULL
) STRICT;
CREATE INDEX trace_by_start ON trace (start);
CREATE TABLE span (
    id INTEGER PRIMARY KEY, span_id BLOB NOT NULL, resource INTEGER NOT NULL, message BLOB NOT NULL
) STRICT;
CREATE TABLE trace_service (trace INTEGER NOT NULL, service TEXT NOT NULL, PRIMARY KEY (trace, service))
STRICT, WITHOUT ROWID;
CREATE TABLE resource (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, service TEXT NOT NULL, message BLOB NOT NULL,
    last_trace INTEGER NOT NULL
) STRICT;
"""


class Found(NamedTuple):
    """A trace as stored: per span its service, its encoded Resource and its encoded Span."""

    trace_id: bytes
    spans: list[tuple[str, bytes, bytes]]


class TraceStore:
    """Keeps at most `max_size` bytes on disk and traces at most `max_age` seconds old.

    Everything but `reader` belongs to one thread at a time, which may be another one than the creator's.
    """

    def __init__(self, path: Path, max_size: int, max_age: float) -> None:
        """Open or create the file. Raises StoreError when it can't be, is damaged, or is of a newer schema."""
        self._path = path
        self._max_age = round(max_age * 1e9)
        with _explained(path):
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2.0)
        try:
            with _explained(path):
                self._prepare()
                page: int = self._db.execute("PRAGMA page_size").fetchone()[0]
                log = min(max_size // 8, 4 << 20)
                self._page = page
                self._max_pages = (max_size - 2 * log) // page
                self._db.execute(f"PRAGMA wal_autocheckpoint = {min(1000, log // page)}")
                self._db.execute(f"PRAGMA journal_size_limit = {log}")
        except BaseException:
            self._db.close()
            raise

    def write(self, spans: Sequence[SpanRow], now: int) -> list[SpanRow]:
        """Add spans, evicting what must go; return those that were refused because their trace is full."""
        refused: list[SpanRow] = []
        with _explained(self._path):
            for chunk in _chunks(spans):
                refused += self._transaction(chunk, now)
        return refused

    def expire(self, now: int) -> None:
        """Evict what is too old."""
        with _explained(self._path):
            self._transaction((), now)

    def size(self) -> int:
        """Return the bytes in use, without the log and without pages that wait for reuse."""
        with _explained(self._path):
            return self._pages_used() * self._page

    def reader(self) -> TraceReader:
        """Return a reader with a connection of its own, for another thread."""
        return TraceReader(self._path)

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        empty = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if not empty and application != _APPLICATION_ID:
            raise StoreError(f"{self._path}: is a database, but not one of the mesh's traces")
        if version > _SCHEMA_VERSION:
            raise StoreError(f"{self._path}: written by a newer release (schema {version}, this one knows "
                             f"{_SCHEMA_VERSION})")
        if empty:
            self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA secure_delete = OFF")  # on in some builds: writes every freed page once more
        if empty:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            self._db.execute("COMMIT")

    def _transaction(self, spans: Sequence[SpanRow], now: int) -> list[SpanRow]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._evict(now, self._pages_for(spans))
            refused = self._insert(spans, now)
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        pages: int = self._db.execute("PRAGMA page_count").fetchone()[0]
        if pages > self._max_pages:  # the limit was lowered since, or the guess was
            # Not execute(): that takes one step of it, which is one page.
            self._db.executescript(f"PRAGMA incremental_vacuum({pages - self._max_pages})")
        return refused

    def _insert(self, spans: Sequence[SpanRow], now: int) -> list[SpanRow]:
        refused: list[SpanRow] = []
        by_trace: dict[bytes, list[SpanRow]] = {}
        for span in spans:
            by_trace.setdefault(span.trace_id, []).append(span)
        resources: dict[bytes, tuple[int, int]] = {}  # key -> id, newest trace
        rows: list[tuple[int, bytes, int, bytes]] = []
        services: set[tuple[int, str]] = set()
        for trace_id, members in by_trace.items():
            trace, total = self._db.execute(
                'INSERT INTO trace (trace_id, received, start, "end", spans, errors) VALUES (?, ?, ?, ?, ?, ?)'
                " ON CONFLICT (trace_id) DO UPDATE SET start = min(start, excluded.start),"
                ' "end" = max("end", excluded."end"), spans = spans + excluded.spans, errors = errors + excluded.errors'
                " RETURNING id, spans",
                (trace_id, now, min(span.start for span in members), max(span.end for span in members), len(members),
                 sum(span.error for span in members))).fetchone()
            first = total - len(members)
            room = max(0, MAX_SPANS - first)
            refused += members[room:]
            for number, span in enumerate(members[:room], (trace << _SHIFT) + first):
                known = resources.get(span.resource.key)
                if known is None or known[1] < trace:
                    known = self._resource(span.resource, trace)
                    resources[span.resource.key] = known
                rows.append((number, span.span_id, known[0], span.message))
                services.add((trace, span.resource.service))
        self._db.executemany("INSERT INTO span VALUES (?, ?, ?, ?)", rows)
        self._db.executemany("INSERT OR IGNORE INTO trace_service VALUES (?, ?)", services)
        return refused

    def _resource(self, resource: ResourceRow, trace: int) -> tuple[int, int]:
        id_, last = self._db.execute(
            "INSERT INTO resource (key, service, message, last_trace) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET last_trace = max(last_trace, excluded.last_trace)"
            " RETURNING id, last_trace",
            (*resource, trace)).fetchone()
        return id_, last

    def _evict(self, now: int, need: int) -> None:
        step = 1
        while True:
            oldest = self._db.execute("SELECT id, received FROM trace ORDER BY id LIMIT ?", (step,)).fetchall()
            if self._pages_used() + need <= self._max_pages:
                oldest = [row for row in oldest if row[1] < now - self._max_age]
            if not oldest:
                return
            last = (oldest[-1][0],)
            self._db.execute("DELETE FROM span WHERE id < ?", ((last[0] + 1) << _SHIFT,))
            self._db.execute("DELETE FROM trace_service WHERE trace <= ?", last)
            self._db.execute("DELETE FROM trace WHERE id <= ?", last)
            self._db.execute("DELETE FROM resource WHERE last_trace <= ?", last)
            step = min(2 * step, _EVICT)

    def _pages_for(self, spans: Sequence[SpanRow]) -> int:
        return round(_OVERHEAD * sum(len(span.message) + 100 for span in spans)) // self._page

    def _pages_used(self) -> int:
        pages: int = self._db.execute("PRAGMA page_count").fetchone()[0]
        free: int = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        return pages - free


class TraceReader:
    """Looks traces up. Belongs to one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _explained(path):
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None,
                                       check_same_thread=False, timeout=2.0)

    def matching(self, service: str, *, errors_only: bool, min_duration: int, limit: int) -> list[Found]:
        """Return the traces that pass the filters, newest first; `min_duration` in nanoseconds, "" for any service."""
        conditions = ['"end" - start >= ?']
        values: list[object] = [min_duration]
        if service:
            conditions.append("EXISTS (SELECT 1 FROM trace_service AS s WHERE s.trace = trace.id AND s.service = ?)")
            values.append(service)
        if errors_only:
            conditions.append("errors > 0")
        with _explained(self._path), self._snapshot():
            ids = self._db.execute(
                f"SELECT id, trace_id FROM trace WHERE {' AND '.join(conditions)} ORDER BY start DESC, id DESC LIMIT ?",
                (*values, limit)).fetchall()
            return [Found(trace_id, self._spans(id_)) for id_, trace_id in ids]

    def find(self, low: bytes, high: bytes) -> list[Found]:
        """Return the traces, two at most, whose id lies in `low`..`high`, both included."""
        with _explained(self._path), self._snapshot():
            ids = self._db.execute("SELECT id, trace_id FROM trace WHERE trace_id BETWEEN ? AND ? LIMIT 2",
                                   (low, high)).fetchall()
            return [Found(trace_id, self._spans(id_)) for id_, trace_id in ids]

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def _spans(self, trace: int) -> list[tuple[str, bytes, bytes]]:
        rows = self._db.execute(
            "SELECT span_id, resource.service, resource.message, span.message FROM span"
            " JOIN resource ON resource.id = span.resource WHERE span.id >= ? AND span.id < ?",
            (trace << _SHIFT, (trace + 1) << _SHIFT))
        # A sender that had no answer sends again: one row per span id.
        return list({row[0]: row[1:] for row in rows}.values())

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OverflowError) as error:
        raise StoreError(f"{path}: {error}") from error


def _chunks(spans: Sequence[SpanRow]) -> Iterator[Sequence[SpanRow]]:
    start, size = 0, 0
    for index, span in enumerate(spans):
        size += len(span.message)
        if size >= _CHUNK:
            yield spans[start:index + 1]
            start, size = index + 1, 0
    if start < len(spans):
        yield spans[start:]
