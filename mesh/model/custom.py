"""A policy of one's own: the source of a Python class that picks endpoints, and how far it is trusted.

What lives here: CustomPolicy and the check that its source can be read and has the class. What this must not know: how
it is run (mesh.dataplane.custom), protobuf, files. `docs/policies.md` is the specification of the class.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from mesh.errors import InvalidResource
from mesh.model.checks import check_range

if TYPE_CHECKING:
    import ast

MAX_SOURCE = 65_536  # bytes
ARGUMENTS = ("candidates", "request", "now", "rng")


class CustomMode(Enum):
    """Not run; run and compared; run and used."""

    OFF = "off"
    SHADOW = "shadow"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class CustomPolicy:
    """`class_name`: of the class in `source` that is made once per service. `time_limit`: seconds for one pick."""

    class_name: str = ""
    source: str = ""
    mode: CustomMode = CustomMode.OFF
    time_limit: float = 0.001

    def __post_init__(self) -> None:
        check_range("time_limit", self.time_limit, 0.000_01, 0.1)
        if not isinstance(self.class_name, str) or len(self.class_name) > 128 or (
                self.class_name and not self.class_name.isidentifier()):
            raise InvalidResource("class", f"{self.class_name[:140]!r} is no name of a class: 1..128 characters of a "
                                           "Python identifier")
        if self.source:
            try:
                size = len(self.source.encode())
            except UnicodeEncodeError:
                raise InvalidResource("source", "holds half a character, which UTF-8 can't carry") from None
            if size > MAX_SOURCE:
                raise InvalidResource("source", f"{size:,} bytes, at most {MAX_SOURCE:,}")
        if self.mode is not CustomMode.OFF:
            for name, value in (("class", self.class_name), ("source", self.source)):
                if not value:
                    raise InvalidResource(name, f"is missing, and mode {self.mode.value} needs it")
        if self.source and self.class_name:
            problem = _problem(self.source, self.class_name)
            if problem:
                raise InvalidResource("source", problem)
        elif self.source or self.class_name:
            raise InvalidResource("source" if self.class_name else "class", "is missing, and without it the rest has "
                                                                             "no meaning")


@lru_cache(maxsize=64)  # one entry per policy in force
def _problem(source: str, class_name: str) -> str:
    """Why the source can't be used, with the line; "" where it can."""
    import ast  # a sidecar without such policies has no use for it

    try:
        tree = ast.parse(source)
        compile(tree, "<policy>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"line {error.lineno or 1}: {error.msg}"
    except (ValueError, MemoryError, RecursionError) as error:
        return f"line 1: not Python: {error or type(error).__name__}"
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name]
    if not found:
        there = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        return f"line 1: has no class {class_name}" + (f", only {', '.join(there[:5])}" if there else "")
    return _problem_of_class(found[-1])


def _problem_of_class(node: ast.ClassDef) -> str:
    import ast

    methods = {each.name: each for each in node.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))}
    pick = methods.get("pick")
    if pick is None:
        if node.bases:
            return ""  # it may have it from there
        return f"line {node.lineno}: class {node.name} has no method pick(self, {', '.join(ARGUMENTS)})"
    for method in methods.values():
        if isinstance(method, ast.AsyncFunctionDef) and method.name in ("pick", "on_result"):
            return f"line {method.lineno}: {method.name} is async; a pick can't wait"
    given = pick.args
    count = len(given.posonlyargs) + len(given.args)
    needed = 1 + len(ARGUMENTS)
    if count - len(given.defaults) > needed or (count < needed and given.vararg is None) or any(
            default is None for default in given.kw_defaults):
        return f"line {pick.lineno}: pick takes (self, {', '.join(ARGUMENTS)})"
    return ""
