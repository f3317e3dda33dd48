"""Axes for curves of errors."""

from ._checks import check_matplotlib


def curve_axes(caller, ax, *, height=3.7):
    """Return `ax`, or the axes of a new figure, 15 cm wide and `height` inches high."""
    check_matplotlib(caller)
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(5.9, height), layout="constrained")[1]


def scale_errors(ax):
    """Let errors that fall by shares, as they do from bit to bit, fall along straight lines."""
    if not any((line.get_ydata() <= 0).any() for line in ax.lines):
        ax.set_yscale("log")
