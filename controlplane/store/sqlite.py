"""The registry in one SQLite file: write-ahead log, synchronous=FULL, so that a commit survives a kill and a power cut.

What lives here: the schema, and records <-> rows; resources are kept as their protobuf messages. What this must not
know: the registry's rules, asyncio, threads (the caller uses one at a time).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from controlplane.errors import Conflict, StoreError
from controlplane.registry import (
    NO_OVERLAY,
    Change,
    EndpointRecord,
    Key,
    Lease,
    Overlay,
    ServiceRecord,
    Stored,
    canonical,
)
from mesh.errors import InvalidResource
from mesh.resource.convert import endpoint_from_proto, endpoint_to_proto, service_from_proto, service_to_proto
from mesh.v1 import endpoint_pb2, service_pb2

_APPLICATION_ID = 0x6D657368  # "mesh": marks the file as ours
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE registry (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL) STRICT;
CREATE TABLE service (
    name TEXT PRIMARY KEY, revision INTEGER NOT NULL, message BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE endpoint (
    service TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL, message BLOB NOT NULL,
    lease TEXT, time_to_live REAL, sidecar TEXT,
    PRIMARY KEY (service, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE overlay (
    service TEXT NOT NULL, name TEXT NOT NULL, weight INTEGER, drained INTEGER NOT NULL,
    PRIMARY KEY (service, name)
) STRICT, WITHOUT ROWID;
"""


class SqliteStore:
    """The store behind `--data-dir`. A new file starts at `first_revision`."""

    def __init__(self, path: Path, first_revision: int) -> None:
        """Open or create the file. Raises StoreError when it can't be, is damaged, or is of a newer schema."""
        self._path = path
        with self._explained():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2.0)
        try:
            with self._explained():
                self._prepare(first_revision)
        except BaseException:
            self._db.close()
            raise

    def load(self) -> Stored:
        with self._explained():
            self._db.execute("BEGIN")
            try:
                return self._read()
            finally:
                self._db.execute("COMMIT")

    def commit(self, expected: int, changes: Sequence[Change]) -> None:
        if not changes:
            return
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                moved = self._db.execute("UPDATE registry SET revision = ? WHERE revision = ?",
                                         (changes[-1].revision, expected))
                if moved.rowcount != 1:
                    raise Conflict(f"{self._path}: another process moved the registry on from revision {expected}")
                for change in changes:
                    self._write(change)
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OverflowError) as error:
            raise StoreError(f"{self._path}: {error}") from error

    def _prepare(self, first_revision: int) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        empty = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if not empty and application != _APPLICATION_ID:
            raise StoreError(f"{self._path}: is a database, but not one of the mesh")
        if version > _SCHEMA_VERSION:
            raise StoreError(f"{self._path}: written by a newer release (schema {version}, this one knows "
                             f"{_SCHEMA_VERSION})")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        if empty:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute("INSERT INTO registry VALUES (1, ?)", (first_revision,))
            self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            self._db.execute("COMMIT")
            return
        verdict = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise StoreError(f"{self._path}: the file is damaged ({verdict}); restore it from a copy or move it away")

    def _read(self) -> Stored:
        rows = self._db.execute("SELECT service, name, weight, drained FROM overlay")
        overlays: dict[Key, Overlay] = {
            (service, name): Overlay(weight, bool(drained)) for service, name, weight, drained in rows}
        services: dict[str, ServiceRecord] = {}
        endpoints: dict[Key, EndpointRecord] = {}
        where = ""
        try:
            for name, revision, message in self._db.execute("SELECT name, revision, message FROM service"):
                where = f"service/{name}"
                services[name] = ServiceRecord(service_from_proto(service_pb2.Service.FromString(message)), revision)
            for service, name, revision, message, lease, ttl, sidecar in self._db.execute(
                    "SELECT service, name, revision, message, lease, time_to_live, sidecar FROM endpoint"):
                where = f"endpoint/{service}/{name}"
                base = canonical(endpoint_from_proto(endpoint_pb2.Endpoint.FromString(message)))
                held = None if lease is None else Lease(lease, ttl, sidecar)
                overlay = overlays.get((service, name), NO_OVERLAY)
                endpoints[service, name] = EndpointRecord(base, overlay, held, revision)
        except (InvalidResource, DecodeError) as error:
            raise StoreError(f"{self._path}: {where} can't be read: {error}") from error
        revision = self._db.execute("SELECT revision FROM registry").fetchone()
        if revision is None:
            raise StoreError(f"{self._path}: the file is damaged (no revision); restore it from a copy or move it away")
        return Stored(revision[0], services, endpoints, overlays)

    def _write(self, change: Change) -> None:
        execute = self._db.execute
        for name, service in change.services.items():
            if service is None:
                execute("DELETE FROM service WHERE name = ?", (name,))
            else:
                message = service_to_proto(service.service).SerializeToString()
                execute("INSERT OR REPLACE INTO service VALUES (?, ?, ?)", (name, service.revision, message))
        for key, record in change.endpoints.items():
            if record is None:
                execute("DELETE FROM endpoint WHERE service = ? AND name = ?", key)
                continue
            lease = record.lease
            held = (None, None, None) if lease is None else (lease.id, lease.time_to_live, lease.sidecar)
            message = endpoint_to_proto(record.base).SerializeToString()
            row = (*key, record.revision, message, *held)
            execute("INSERT OR REPLACE INTO endpoint VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        for key, overlay in change.overlays.items():
            if overlay is None:
                execute("DELETE FROM overlay WHERE service = ? AND name = ?", key)
            else:
                execute("INSERT OR REPLACE INTO overlay VALUES (?, ?, ?, ?)", (*key, overlay.weight, overlay.drained))
