"""Writing files so that a crash leaves the old file or the new one, never half of one."""

import os
import re
import secrets
from pathlib import Path


def write_atomically(path, data):
    """Write the bytes `data` to `path`: temporary file beside it, fsync, rename."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # Not tempfile: its files are private to their owner, and a saved model follows the umask.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def remove_temporaries(path):
    """Remove what killed calls of `write_atomically` left beside `path`."""
    path = Path(path)
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}")
    for file in path.parent.iterdir():
        if pattern.fullmatch(file.name):
            file.unlink(missing_ok=True)
