from __future__ import annotations

import os

import pytest

from controlplane.store.directory import DataDirectory
from mesh.errors import InvalidConfig


def test_a_directory_is_made_and_held_by_one_at_a_time(tmp_path):
    path = tmp_path / "deep" / "data"
    first = DataDirectory(path)
    with pytest.raises(InvalidConfig, match=rf"in use by another control plane \(pid {os.getpid()}\)"):
        DataDirectory(path)
    first.release()
    first.release()
    DataDirectory(path).release()


def test_a_file_in_its_place_is_a_clear_error(tmp_path):
    path = tmp_path / "data"
    path.write_text("x")
    with pytest.raises(InvalidConfig, match=r"--data-dir .*data: File exists"):
        DataDirectory(path)
