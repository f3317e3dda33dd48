"""What a training tells its user."""

from tqdm import tqdm


class Progress:
    """A progress bar (verbose=1) or a line per record (verbose=2)."""

    def __init__(self, title, state, plan, *, quiet=False):
        step, n_steps_made, max_steps = state.step, state.n_steps_made, plan.max_steps
        verbose = 0 if quiet else plan.verbose
        if n_steps_made:
            title += f", from the checkpoint of step {step}"
        total = None if max_steps is None else step - n_steps_made + max_steps
        self.bar = tqdm(initial=step, total=total, desc=title, unit="step", disable=verbose != 1)
        self.prints_lines = verbose > 1
        if self.prints_lines:
            self.bar.write(title)

    def show(self, record):
        """Show a record."""
        if self.prints_lines:
            texts = (
                f"{name} {value:{',' if isinstance(value, int) else ',.6g'}}"
                for name, value in record.items()
            )
            self.bar.write(", ".join(texts))
        shown = {"error": f"{record.get('error', record['loss']):.4g}"}
        if "entropy" in record:
            shown["bits"] = f"{record['entropy']:.1f}"
        self.bar.set_postfix(**shown, refresh=False)
        self.bar.update(record["step"] - self.bar.n)

    def close(self):
        """End the bar."""
        self.bar.close()
