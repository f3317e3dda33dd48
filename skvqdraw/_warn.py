"""Warnings that point to the line of the user's that led to them."""

import sys
import warnings

# Whose frames are passed over: ours, and what calls us for somebody else.
_PASSED_OVER = {__package__, "contextlib", "joblib", "sklearn"}


def warn(message, category=UserWarning):
    """Warn of the line that called this package, however deep inside of it this is called."""
    frame, level = sys._getframe(1), 2
    while frame is not None and _package_of(frame) in _PASSED_OVER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=2 if frame is None else level)


def _package_of(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0]
