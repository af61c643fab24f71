"""How the compiled modules are built; which they are, and all else, stands in pyproject.toml.

setuptools alone builds one module after the other. Here Cython's translation runs in one process per core, and
C compilers run side by side, for `pip install .` and `make build` alike.
"""

import os

from Cython.Build import cythonize
from setuptools import setup
from setuptools.command.build_ext import build_ext

# MESH_CFLAGS is for `make sanitize`.
FLAGS = os.environ.get("MESH_CFLAGS", "-O2 -g0").split()


class ParallelBuild(build_ext):
    """`build_ext` on all cores; only what changed is built again."""

    def build_extensions(self) -> None:
        jobs = len(os.sched_getaffinity(0))
        translated = cythonize(self.extensions, nthreads=jobs, language_level=3, force=self.force)
        for extension, done in zip(self.extensions, translated, strict=True):
            extension.sources = done.sources
            extension.extra_compile_args = [*FLAGS, *extension.extra_compile_args]
        self.parallel = jobs
        super().build_extensions()


setup(cmdclass={"build_ext": ParallelBuild})
