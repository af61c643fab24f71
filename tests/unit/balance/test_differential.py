"""The compiled modules and the same files uncompiled decide the same, seed by seed.

Both run in a process of their own; the second one has a finder that passes the compiled files over.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

UNCOMPILED = """
import importlib.machinery, importlib.util, pathlib, sys
class Plain:
    def find_spec(self, name, path=None, target=None):
        file = pathlib.Path(*name.split(".")).with_suffix(".py")
        if name.startswith("mesh.") and file.exists():
            return importlib.util.spec_from_file_location(
                name, file, loader=importlib.machinery.SourceFileLoader(name, str(file)))
sys.meta_path.insert(0, Plain())
"""
STORY = """
import hashlib, sys
from mesh.balance import Balancer, NodeSet, Outlier, Rng, source_key
from mesh.model import Algorithm, BalancePolicy, Endpoint, HashPolicy, OutlierPolicy
from mesh.model.balance import HASHING
from mesh.resilience.budget import Budget
from mesh.resilience.replay import ReplayBuffer

said = []
for algorithm in Algorithm:
    for seed in range(4):
        story, nodes = Rng(seed), NodeSet()
        policy = BalancePolicy(algorithm, capacity=2 * (algorithm is Algorithm.FIRST_AVAILABLE),
                               hash=HashPolicy(bounded_load=1.25 * (algorithm in HASHING and seed % 2),
                                               min_ring_size=16 if algorithm is Algorithm.RING_HASH else 1024,
                                               table_size=1009 if algorithm is Algorithm.MAGLEV else 65_537))
        picker, outlier = Balancer(policy, nodes, Rng(seed)), Outlier(OutlierPolicy(2, 5.0, 20.0, 0.5), nodes)
        now = 0.0
        for step in range(60):
            if step % 10 == 0:
                nodes.reconcile(Endpoint("cart", f"cart-{i}", "127.0.0.1", 80 + step % 3, weight=story.below(5))
                                for i in range(3 + story.below(9)))
                picker.changed()
            tried = []
            for attempt in range(3):
                node = picker.pick(source_key(f"10.0.0.{story.below(40)}"), now, tried)
                if node is None:
                    said.append("none")
                    break
                said.append(f"{node.endpoint.name} {node.in_flight} {picker.panic}")
                tried.append(node)
                calls = story.below(4)
                while node.in_flight < calls:
                    node.begin()
                while node.in_flight > calls:
                    node.end()
                picker.on_result(node, story.uniform() / 10, story.below(4) > 0, now)
                said.append(f"{node.latency:.12f}")
                if outlier.on_result(node, story.below(3) == 0, now):
                    said.append(f"out until {node.ejected_until}")
                    picker.changed()
            now += story.uniform() * 3
        budget = Budget(0.3, 0.5, 2.0)
        for _ in range(200):
            now += story.uniform() / 10
            budget.deposit(now)
            said.append(f"{budget.withdraw(now)} {budget.level(now):.9f}")
        replay = ReplayBuffer(50)
        said.append(f"{[replay.append(bytes(story.below(30))) for _ in range(5)]} {replay.size} {replay.overflowed}")
print(sys.modules["mesh.balance.picker"].__file__.endswith(".py"), len(said),
      hashlib.sha256("\\n".join(said).encode()).hexdigest())
"""


def tell(*parts: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", "\n".join(("import sys; sys.path.insert(0, '')", *parts))], cwd=ROOT,
                          capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.slow
def test_both_say_the_same():
    plain, steps, digest = tell(UNCOMPILED, STORY)
    assert plain == "True"
    assert int(steps) > 5000
    assert tell(STORY)[1:] == [steps, digest]
