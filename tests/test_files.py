"""Files are whole or not there, and end up where the path says."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from skvqdraw.files import atomic


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_crash_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model"
    atomic.write_atomically(path, [b"old"])

    def crash(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        atomic.write_atomically(path, [b"new, and longer"])
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model"]


# Writes 1 MB of one letter after the other, for ever, without importing the package.
WRITER = """
import itertools, runpy, sys
write = runpy.run_path(sys.argv[1])["write_atomically"]
for letter in itertools.cycle(b"ab"):
    write(sys.argv[2], [bytes([letter]) * 500_000, bytes([letter]) * 500_000])
    print(flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills as POSIX does")
def test_a_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "model"
    for delay in range(10):
        command = [sys.executable, "-c", WRITER, atomic.__file__, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            time.sleep(delay / 1000)
            writer.kill()
        assert path.read_bytes() in (b"a" * 1_000_000, b"b" * 1_000_000)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_is_replaced_and_readable_as_the_umask_says(tmp_path, umask):
    path = tmp_path / "model"
    before = os.umask(umask)
    try:
        atomic.write_atomically(path, [b"old"])
        atomic.write_atomically(path, [b"n", b"", b"ew"])
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert mode(path) == 0o666 & ~umask


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    path = tmp_path / "model"
    for permissions in (0o600, 0o640, 0o664, 0o400):
        atomic.write_atomically(path, [b"old"])
        path.chmod(permissions)
        atomic.write_atomically(path, [b"new"])
        assert mode(path) == permissions


def test_a_file_is_never_open_to_more_than_it_was(tmp_path, monkeypatch):
    """Nor is the temporary one, once something is in it."""
    path = tmp_path / "model"
    path.touch(0o600)
    found = []
    monkeypatch.setattr(os, "fsync", lambda d: found.append(stat.S_IMODE(os.fstat(d).st_mode)))
    atomic.write_atomically(path, [b"new"])
    assert found[0] == 0o600


def test_a_path_of_bytes(tmp_path):
    atomic.write_atomically(os.fsencode(tmp_path / "model"), [b"new"])
    assert os.listdir(tmp_path) == ["model"]


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    target, link = tmp_path / "model-7", tmp_path / "latest"
    link.symlink_to(target.name)
    for content in (b"first", b"second"):  # the target is missing, then there
        atomic.write_atomically(link, [content])
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert not target.is_symlink()


def test_a_circle_of_links(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        atomic.write_atomically(tmp_path / "a", [b"new"])


def test_a_folder_is_not_replaced(tmp_path):
    with pytest.raises(IsADirectoryError, match="a folder, not the name of a file"):
        atomic.write_atomically(tmp_path, [b"new"])
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such file.*/nowhere'$"):
        atomic.write_atomically(tmp_path / "nowhere" / "model", [b"new"])


def test_a_folder_that_must_not_be_written_is_named():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        path.write_bytes(b"old")
        os.chmod(folder, 0o555)
        root = os.geteuid() == 0  # who may write anywhere
        if root:
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError, match=r"cannot create a file in this folder"):
                atomic.write_atomically(path, [b"new"])
        finally:
            if root:
                os.seteuid(0)
        assert path.read_bytes() == b"old"
        os.chmod(folder, 0o755)


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_a_pipe_is_not_replaced(pipe):
    with pytest.raises(OSError, match="not a regular file, and must not be replaced"):
        atomic.write_atomically(pipe, [b"new"])
    assert pipe.is_fifo()


def test_a_pipe_is_not_waited_for(pipe):
    with pytest.raises(OSError, match="not a regular file"):
        atomic.open_regular(pipe)


def test_what_killed_writers_left_is_found_through_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "model", tmp_path / "link"
    left, other = (
        target.with_name(f".model.{'0123abcd' * 2}.tmp"),
        tmp_path / f".link.{'0123abcd' * 2}.tmp",
    )
    for file in (target, left, other):
        file.touch()
    link.symlink_to(target)
    atomic.remove_temporaries(link)
    assert set(target.parent.iterdir()) == {target}
    assert other.exists()
