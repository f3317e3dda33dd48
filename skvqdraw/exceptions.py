"""Exceptions and warnings that callers may want to name."""

__all__ = ["FormatError", "InconsistentVersionWarning"]


class FormatError(ValueError):
    """A file is not a model, or bytes are no compressed rows, that this version of skvqdraw reads.

    The message says what was expected and what was found.

    Examples
    --------
    >>> from skvqdraw.exceptions import FormatError
    >>> issubclass(FormatError, ValueError)
    True
    """


class InconsistentVersionWarning(UserWarning):
    """An estimator was pickled by another version of skvqdraw.

    What a pickle holds is not promised to mean the same in two versions; what ``save`` writes is.

    Parameters
    ----------
    estimator_name : str
        Class of the estimator.
    current_version : str
        Version of skvqdraw that unpickles it.
    original_version : str
        Version of skvqdraw that pickled it.

    Examples
    --------
    >>> import warnings
    >>> from skvqdraw.exceptions import InconsistentVersionWarning
    >>> warnings.simplefilter("error", InconsistentVersionWarning)  # be strict
    """

    def __init__(self, *, estimator_name, current_version, original_version):
        self.estimator_name = estimator_name
        self.current_version = current_version
        self.original_version = original_version

    def __str__(self):
        return (
            f"{self.estimator_name} was pickled by skvqdraw {self.original_version} and is read "
            f"by {self.current_version}: it may fail, or code otherwise than it did. Models that "
            "are to outlast a version belong in a file written by save."
        )
