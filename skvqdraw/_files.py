"""Writing files so that a crash leaves the old file or the new one, never half of one."""

import os
import tempfile
from pathlib import Path


def write_atomically(path, data):
    """Write the bytes `data` to `path`: temporary file beside it, fsync, rename."""
    path = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private to their owner; a saved model follows the umask instead.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
