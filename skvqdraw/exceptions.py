"""Exceptions that callers may want to catch by name."""

__all__ = ["FormatError"]


class FormatError(ValueError):
    """A file is not a model that this version of skvqdraw can read.

    The message says what was expected and what was found.

    Examples
    --------
    >>> from skvqdraw.exceptions import FormatError
    >>> issubclass(FormatError, ValueError)
    True
    """
