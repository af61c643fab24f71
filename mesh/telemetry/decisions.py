"""Recorded decisions: one JSON line per attempt, for `mesh simulate --recorded`.

What lives here: what stands in a line. What this must not know: how lines get to a file (appender), who records.
"""

from __future__ import annotations

from json.encoder import encode_basestring_ascii as quoted

from mesh.dataplane.record import Record

# Octets that the file may have; beyond that nothing is added until it is moved away.
LIMIT = 256 << 20


def format_decision(record: Record, ratio: float) -> str:
    """The line of one attempt; `ratio` of all requests are recorded. docs/simulate.md has the fields."""
    seconds, nanos = divmod(record.start_ns, 1_000_000_000)
    return "".join((
        f'{{"time":{seconds}.{nanos // 1000:06d},"service":', quoted(record.service),
        ',"endpoint":', quoted(record.endpoint.rpartition("/")[2]), ',"why":', quoted(record.why),
        f',"latency":{max(0, record.end_ns - record.start_ns) / 1e9:.6f},"outcome":"', record.reason or "ok",
        f'","attempt":{record.attempt}', f',"grpc_status":{record.grpc_status}' if record.grpc_status > 0 else "",
        f',"status":{record.http_status}' if record.http_status >= 400 else "",
        f',"ratio":{ratio:g}' if ratio < 1 else "", "}\n"))
