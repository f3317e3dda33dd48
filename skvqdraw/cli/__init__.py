"""The command `skvqdraw`: fit, compress, decompress, sample and info, for files of rows."""

import os
import sys
import warnings

from . import commands
from .arguments import parsed

_INTERRUPTED = 130  # as shells have it
# Parameters that messages name, as options.
_OPTIONS = {"allow_truncated=True": "--allow-truncated", "max_time": "--time"}


def main(argv=None):
    """Run a command line, and return the exit status.

    Parameters
    ----------
    argv : list of str or None, default=None
        The arguments; None for those of the process.

    Returns
    -------
    status : int
        0 if all is well, 1 after an error, 130 after Ctrl-C. Wrong arguments exit with 2.
    """
    arguments = parsed(argv)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _tell("warning", message)
        try:
            for line in getattr(commands, arguments.command)(arguments):
                _write(sys.stdout, line)
            sys.stdout.flush()
        except KeyboardInterrupt:
            _tell("interrupted", "no file is half written")
            return _INTERRUPTED
        except BrokenPipeError:  # who reads has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except (OSError, ValueError, TypeError, RuntimeError, MemoryError, ImportError) as error:
            _tell("error", str(error) or type(error).__name__)
            return 1
    return 0


def _tell(what, message):
    message = " ".join(str(message).split())
    for parameter, option in _OPTIONS.items():
        message = message.replace(parameter, option)
    _write(sys.stderr, f"skvqdraw: {what}: {message}")


def _write(stream, line):
    """Write a line; characters that the stream cannot encode are escaped."""
    try:
        stream.write(f"{line}\n")
    except UnicodeEncodeError:
        escaped = line.encode(stream.encoding, "backslashreplace").decode(stream.encoding)
        stream.write(f"{escaped}\n")
