"""Picks per second of each algorithm at 10, 100 and 10,000 endpoints, called from compiled code as the proxies do.

What lives here: the command and its table. What this must not know: sockets, processes. No number makes it fail.
`python tests/bench/pickers.py [--json FILE] [ALGORITHM ...]`; needs Cython and a C compiler for the loops, and the
compiled modules. `pick` is a pick alone; `retry` one that avoids an endpoint; `call` a pick with all that
is kept of a call: its begin, its end and its latency.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILT = ROOT / "build" / "bench"
sys.path.insert(0, str(ROOT))

from mesh.balance import Balancer, NodeSet, Rng  # noqa: E402
from mesh.balance import picker as picker_module  # noqa: E402
from mesh.model import Algorithm, BalancePolicy, Endpoint  # noqa: E402
from mesh.model.balance import HASHING  # noqa: E402

SIZES = (10, 100, 10_000)
CASES = {"equal weights": lambda i: 1, "weights 1..3": lambda i: 1 + i % 3, "weights 1..100": lambda i: 1 + i % 100}
TARGET = 0.02  # seconds per sample; the median of 5 counts
Loop = Callable[[Balancer, int, int, int, list[object] | None], float]


def build() -> tuple[Loop, Loop]:
    """Compile the loops and return them."""
    from Cython.Build import cythonize
    from setuptools import Extension

    BUILT.mkdir(parents=True, exist_ok=True)
    newest = max((HERE / "pickloop.py").stat().st_mtime, Path(picker_module.__file__).stat().st_mtime)
    if not any(so.stat().st_mtime > newest for so in BUILT.glob("pickloop.*.so")):
        for name in ("pickloop.py", "pickloop.pxd"):
            (BUILT / name).write_text((HERE / name).read_text())
        (extension,) = cythonize([Extension("pickloop", [str(BUILT / "pickloop.py")])], include_path=[str(ROOT)],
                                 quiet=True)
        subprocess.run([sys.executable, "-c", "from setuptools import setup, Extension; import sys; "
                        "setup(name='pickloop', ext_modules=[Extension('pickloop', [sys.argv.pop()])])",
                        "-q", "build_ext", "--inplace", extension.sources[0]], cwd=BUILT, check=True)
    sys.path.insert(0, str(BUILT))
    from pickloop import seconds, whole_calls  # type: ignore[import-not-found]

    return seconds, whole_calls


def policy_of(algorithm: Algorithm) -> BalancePolicy:
    """Defaults; at the first available a hundred calls fit."""
    return BalancePolicy(algorithm, capacity=100 if algorithm is Algorithm.FIRST_AVAILABLE else 0)


def measure(loop: Loop, policy: BalancePolicy, size: int, weight: Callable[[int], int],
            keys: int, retry: bool = False) -> float:
    """Return nanoseconds per pick."""
    nodes = NodeSet()
    nodes.reconcile(Endpoint("cart", f"cart-{i:05}", "127.0.0.1", 80, weight=weight(i)) for i in range(size))
    picker = Balancer(policy, nodes, Rng(1))
    tried = [nodes.nodes[0]] if retry else None
    loop(picker, 0, 256, 256, tried)
    first, n = 0, 16
    while loop(picker, first, n, keys, tried) < TARGET:
        first += n
        n *= 2
    samples = []
    for _ in range(5):
        first += n
        samples.append(loop(picker, first, n, keys, tried))
    return median(samples) / n * 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers to this file, too")
    parser.add_argument("algorithms", nargs="*", metavar="ALGORITHM", type=Algorithm, help="only these; all by default")
    options = parser.parse_args()
    if picker_module.__file__.endswith(".py"):
        sys.exit("mesh.balance is not compiled: these would be the numbers of another program")
    pick, call = build()
    rows = []
    print(f"{'algorithm':<26}{'weights':<16}{'endpoints':>10}{'ns/pick':>12}{'picks/s':>14}{'ns/retry':>12}{'ns/call':>12}")
    for algorithm in options.algorithms or Algorithm:
        for case, weight in CASES.items():
            for size in SIZES:
                for keys in (256, 1 << 40) if algorithm in HASHING else (256,):
                    policy = policy_of(algorithm)
                    ns = measure(pick, policy, size, weight, keys)
                    retry = measure(pick, policy, size, weight, keys, retry=True)
                    whole = measure(call, policy, size, weight, keys)
                    name = algorithm.value + (" (new key)" if keys > 256 else "")
                    rows.append({"algorithm": name, "weights": case, "endpoints": size, "ns": ns, "retry_ns": retry,
                                 "call_ns": whole})
                    print(f"{name:<26}{case:<16}{size:>10,}{ns:>12,.1f}{1e9 / ns:>14,.0f}{retry:>12,.1f}"
                          f"{whole:>12,.1f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
