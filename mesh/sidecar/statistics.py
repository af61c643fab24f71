"""What several workers count, as one: sums, and of what is no count the one that all of them say.

What lives here: the rule per kind of value. What this must not know: where the figures come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Numbers that are set or measured, not counted: the largest of the workers.
_SET = frozenset({"weight", "longest_pick", "least_latency"})


def total(values: Sequence[Any], key: str = "") -> Any:
    """Return one value of the same shape: numbers added, truth where all agree, mappings and lists member by member.

    Members of a list are matched by their `service`, or by their place.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    first = known[0]
    if isinstance(first, dict):
        names = dict.fromkeys(name for value in known for name in value)
        return {name: total([value[name] for value in known if name in value], name) for name in names}
    if isinstance(first, list):
        members: dict[Any, list[Any]] = {}
        for value in known:
            for place, member in enumerate(value):
                label = member.get("service") if isinstance(member, dict) else None
                members.setdefault(label if label is not None else place, []).append(member)
        return [total(each) for each in members.values()]
    if isinstance(first, bool):
        return all(known)
    if isinstance(first, int | float):
        return max(known) if key in _SET else sum(known)
    return first
