"""Other people's load generators: h2load (nghttp2) and wrk, their command lines and what their output says.

What lives here: words to and from them. What this must not know: proxies, cores. Both repeat one request without end.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

PROGRAMS = {"h2load": "apt install nghttp2-client", "wrk": "apt install wrk"}
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


class Unusable(Exception):
    """The load generator is missing, or said something else than expected."""


def h2load_command(port: int, conns: int, streams: int, requests: int, body: Path, authority: str) -> list[str]:
    return ["h2load", "-n", str(requests), "-c", str(conns), "-m", str(streams), "-t", "1", "-d", str(body),
            "-H", "content-type: application/grpc", "-H", "te: trailers", "-H", f":authority: {authority}",
            f"http://127.0.0.1:{port}/bench.Echo/Unary"]


def wrk_command(port: int, conns: int, seconds: float, size: int, host: str, churn: bool, scheme: str) -> list[str]:
    return ["wrk", "-t", "1", "-c", str(conns), "-d", f"{max(1, round(seconds))}s", "--latency", "-H", f"Host: {host}",
            *(["-H", "Connection: close"] if churn else []), f"{scheme}://127.0.0.1:{port}/{size}/item"]


def run(argv: list[str]) -> str:
    if shutil.which(argv[0]) is None:
        raise Unusable(f"{argv[0]} is not installed ({PROGRAMS[argv[0]]})")
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise Unusable(f"{argv[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def parse_h2load(text: str) -> dict[str, Any]:
    """`done`, `failed`, `seconds`. Per-request quantiles are not printed by h2load."""
    finished = re.search(r"finished in ([\d.]+)(us|ms|s|m)\b", text)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    codes = re.search(r"status codes: (\d+) 2xx", text)
    if not finished or not counts or not codes:
        raise Unusable(f"h2load said: {text[-300:]}")
    done = min(int(counts[1]), int(codes[1]))
    failed = int(counts[2]) + int(counts[4])
    return {"done": done, "failed": failed, "errors": {"h2load": failed} if failed else {},
            "seconds": float(finished[1]) * _UNITS[finished[2]] / 1e6}


def parse_wrk(text: str) -> dict[str, Any]:
    """`done`, `failed`, `seconds`, `p50_us`, `p99_us`."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", text)
    if not total:
        raise Unusable(f"wrk said: {text[-300:]}")
    result: dict[str, Any] = {"done": int(total[1]), "seconds": float(total[2]) * _UNITS[total[3]] / 1e6, "errors": {}}
    for key, ratio in (("p50_us", "50%"), ("p99_us", "99%")):
        found = re.search(rf"\s{re.escape(ratio)}\s+([\d.]+)(us|ms|s|m)\b", text)
        if found:
            result[key] = float(found[1]) * _UNITS[found[2]]
    failed = 0
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if refused:
        failed += int(refused[1])
        result["done"] -= failed
        result["errors"]["not 2xx"] = failed
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    if broken:
        count = sum(int(each) for each in broken.groups())
        failed += count
        result["errors"]["socket errors"] = count
    result["failed"] = failed
    return result
