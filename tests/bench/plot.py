"""docs/benchmarks.svg: what a request costs each proxy, one panel per kind of work.

What lives here: figures to a picture; matplotlib is imported only here. What this must not know: how they were
measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from figures import figure, label, number

# Panel title -> case, metric, what the axis says.
PANELS = (
    ("gRPC unary, 8 × 16, unique headers", "grpc-8x16-unique", "cpu_us", "µs of CPU per request"),
    ("gRPC unary, 1 × 32, unique paths", "grpc-1x32-path", "cpu_us", "µs of CPU per request"),
    ("gRPC server stream", "stream-server", "cpu_us", "µs of CPU per message"),
    ("HTTP/1.1 keep-alive, 32 connections", "http1-32", "cpu_us", "µs of CPU per request"),
    ("TCP small requests, 32 connections", "tcp-32", "cpu_us", "µs of CPU per request"),
    ("TCP, a connection per request", "tcp-churn", "cpu_us", "µs of CPU per request"),
    ("TCP bulk, 4 connections", "bulk-4", "gib_s", "GiB per second"),
    ("gRPC at 5,000/s", "rate-grpc-5k", "added_p50_us", "µs added to p50"),
    ("Memory, idle", "memory", "rss_mb", "MB resident"),
    ("Memory per idle TCP connection", "idle-tcp", "bytes_per_conn", "bytes"),
)
OURS, THEIRS = "#1b7f5c", "#9aa5b1"


def draw(data: dict[str, Any], path: Path) -> str:
    """Write the picture; return why not, or the empty string."""
    try:
        import matplotlib

        matplotlib.use("svg")
        from matplotlib import pyplot
    except ImportError as e:
        return f"{e} (pip install matplotlib)"
    results, versions = data["cases"], data["versions"]
    panels = []
    for title, key, metric, axis in PANELS:
        bars = [(label(name, versions), value, name.startswith("mesh"))
                for name in results.get(key, {}) if name != "direct"
                and (value := figure(results[key], name, metric)) == value]
        if bars:
            panels.append((title, axis, metric, bars))
    if not panels:
        return "none of the plot's cases was measured"
    pyplot.rcParams.update({"font.size": 8, "svg.hashsalt": "mesh", "svg.fonttype": "none"})
    rows = (len(panels) + 1) // 2
    shape, axes = pyplot.subplots(rows, 2, figsize=(10, 2.0 * rows), squeeze=False)
    for panel, (title, axis, metric, bars) in zip(axes.flat, panels, strict=False):
        names, values, ours = zip(*reversed(bars), strict=True)
        drawn = panel.barh(names, values, color=[OURS if own else THEIRS for own in ours])
        panel.bar_label(drawn, [number(value, metric) for value in values], padding=2)
        panel.set_title(title, loc="left", fontweight="bold")
        panel.set_xlabel(axis)
        panel.margins(x=0.18)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in list(axes.flat)[len(panels):]:
        panel.set_visible(False)
    shape.tight_layout()
    shape.savefig(path, metadata={"Date": None})
    pyplot.close(shape)
    return ""
