"""What makes one reconstruction better than another.

A loss scores a grid of candidates: `grid(options_NKD, target_ND) -> loss_NK`.
"""


class SquaredError:
    """Mean over features of the squared error."""

    def grid(self, options_NKD, target_ND):
        return (options_NKD - target_ND[:, None]).square().mean(-1)
