"""``python -m skvqdraw`` is the command `skvqdraw`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
