"""Makes the .py files of `mesh.wire` be loaded even where compiled modules lie beside them."""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

PACKAGE = "mesh.wire."


class PlainFinder:
    """Finds the source of a module of `mesh.wire`."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> object:
        if not name.startswith(PACKAGE) or path is None:
            return None
        loader = (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES)
        return importlib.machinery.FileFinder(path[0], loader).find_spec(name)


def install() -> None:
    """To be called before the first import of `mesh.wire`."""
    sys.meta_path.insert(0, PlainFinder)  # type: ignore[arg-type]
