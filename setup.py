"""How the compiled modules are built; which they are, and all else, stands in pyproject.toml.

setuptools alone builds one module after the other. Here Cython's translation runs in one process per core, and
C compilers run side by side, for `pip install .` and `make build` alike.
"""

import os
import sys

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import setup
from setuptools.command.build_ext import build_ext

# MESH_CFLAGS is for `make sanitize`.
FLAGS = os.environ.get("MESH_CFLAGS", "-O2 -g0").split()
# Segments of a hundred small libraries, each rounded up to pages, are resident for nothing.
LINK = ["-Wl,-z,noseparate-code"] if sys.platform == "linux" else []
# Nor does a sidecar have use for what compiled functions and classes can tell of themselves, nor for pickling:
# but where a decision is explained on a copy.
Options.docstrings = False
COPIED = "mesh.balance."


class ParallelBuild(build_ext):
    """`build_ext` on all cores; only what changed is built again."""

    def build_extensions(self) -> None:
        jobs = len(os.sched_getaffinity(0))
        translated = []
        for copied in (False, True):
            translated += cythonize([each for each in self.extensions if each.name.startswith(COPIED) == copied],
                                    nthreads=jobs, language_level=3, force=self.force,
                                    compiler_directives={"binding": False, "auto_pickle": copied})
        self.extensions.sort(key=lambda each: each.name.startswith(COPIED))
        for extension, done in zip(self.extensions, translated, strict=True):
            extension.sources = done.sources
            extension.extra_compile_args = [*FLAGS, *extension.extra_compile_args]
            extension.extra_link_args = [*LINK, *extension.extra_link_args]
        self.parallel = jobs
        super().build_extensions()


setup(cmdclass={"build_ext": ParallelBuild})
