import os

import pytest

from skvqdraw import _files


def test_a_crash_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model"
    _files.write_atomically(path, b"old")

    def crash(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        _files.write_atomically(path, b"new, and longer")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model"]


def test_a_file_is_replaced_and_readable_as_the_umask_says(tmp_path):
    path = tmp_path / "model"
    _files.write_atomically(path, b"old")
    _files.write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
