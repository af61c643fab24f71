"""A policy of one's own as a value: what is refused, with the line."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.errors import InvalidResource
from mesh.model import Algorithm, BalancePolicy
from mesh.model.custom import MAX_SOURCE, CustomMode, CustomPolicy

GOOD = "class Mine:\n    def pick(self, candidates, request, now, rng):\n        return candidates[0]\n"


def refused(**fields: Any) -> tuple[str, str]:
    with pytest.raises(InvalidResource) as caught:
        CustomPolicy(**{"class_name": "Mine", "source": GOOD, "mode": CustomMode.SHADOW, **fields})
    return caught.value.field, caught.value.problem


def test_what_is_right_is_taken() -> None:
    assert CustomPolicy() == CustomPolicy("", "", CustomMode.OFF, 0.001)
    for source in (GOOD, "class Mine:\n    def pick(self, *args): pass\n",
                   "class Base: pass\nclass Mine(Base): pass\n",
                   "class Mine:\n    def pick(self, c, r, n, g, more=1): pass\n    def on_result(self, *a): pass\n"):
        assert CustomPolicy("Mine", source, CustomMode.LIVE).source == source


@pytest.mark.parametrize(("fields", "field", "problem"), [
    ({"time_limit": 0.000_001}, "time_limit", "1e-06 is outside 1e-05..0.1"),
    ({"time_limit": 0.2}, "time_limit", "0.2 is outside 1e-05..0.1"),
    ({"class_name": "a-b"}, "class", "'a-b' is no name of a class: 1..128 characters of a Python identifier"),
    ({"class_name": "a" * 129}, "class", None),
    ({"class_name": ""}, "class", "is missing, and mode shadow needs it"),
    ({"source": ""}, "source", "is missing, and mode shadow needs it"),
    ({"source": "", "mode": CustomMode.OFF}, "source", "is missing, and without it the rest has no meaning"),
    ({"class_name": "", "mode": CustomMode.OFF}, "class", "is missing, and without it the rest has no meaning"),
    ({"source": "#" * (MAX_SOURCE + 1)}, "source", "65,537 bytes, at most 65,536"),
    ({"source": "\ud800"}, "source", "holds half a character, which UTF-8 can't carry"),
    ({"source": "x = 1\nclass Mine\n"}, "source", "line 2: expected ':'"),
    ({"source": GOOD + "return 1\n"}, "source", "line 4: 'return' outside function"),
    ({"source": "x\0"}, "source", None),
    ({"source": "class Other: pass\n"}, "source", "line 1: has no class Mine, only Other"),
    ({"source": "x = 1\n"}, "source", "line 1: has no class Mine"),
    ({"source": "\nclass Mine: pass\n"}, "source",
     "line 2: class Mine has no method pick(self, candidates, request, now, rng)"),
    ({"source": "class Mine:\n    def pick(self, candidates): pass\n"}, "source",
     "line 2: pick takes (self, candidates, request, now, rng)"),
    ({"source": "class Mine:\n    def pick(self, a, b, c, d, e): pass\n"}, "source",
     "line 2: pick takes (self, candidates, request, now, rng)"),
    ({"source": "class Mine:\n    def pick(self, a, b, c, d, *, e): pass\n"}, "source",
     "line 2: pick takes (self, candidates, request, now, rng)"),
    ({"source": "class Mine:\n    async def pick(self, a, b, c, d): pass\n"}, "source",
     "line 2: pick is async; a pick can't wait"),
    ({"source": "(" * 5000}, "source", None), ({"source": "-" * 60_000 + "1"}, "source", None)])
def test_what_can_not_be_run_is_refused(fields: dict[str, Any], field: str, problem: str | None) -> None:
    found = refused(**fields)
    assert found[0] == field
    assert problem is None or found[1] == problem
    assert field != "source" or "\n" not in found[1]


def test_live_and_another_algorithm_contradict_each_other() -> None:
    live = CustomPolicy("Mine", GOOD, CustomMode.LIVE)
    assert BalancePolicy(custom=live).custom is live
    BalancePolicy(Algorithm.ROUND_ROBIN, custom=CustomPolicy("Mine", GOOD, CustomMode.SHADOW))
    with pytest.raises(InvalidResource, match=r"algorithm: round_robin contradicts custom\.mode live"):
        BalancePolicy(Algorithm.ROUND_ROBIN, custom=live)
