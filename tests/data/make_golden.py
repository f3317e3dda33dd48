"""Write the golden files of the present format: models, codes of rows and what they decode to.

    python tests/data/make_golden.py

For a new format version only: what is here already must never be written anew, since every later
version has to read it as it is. PaperRefiner is not among them: its networks have no small ones.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.datasets import load_digits_images
from skvqdraw.files import model
from skvqdraw.refiners import ConvRefiner, MLPRefiner

FOLDER = Path(__file__).parent / f"format-{model._FORMAT_VERSION}"
N_ROWS = 8

SMALL = {"basis_size": 3, "n_blocks": 1}
GREEDY = {"beam_size": 1, "round_beam_size": 1, "max_steps": 100, "random_state": 0}
MODELS = {
    "mlp": VQDRAW(5, 8, refiner=MLPRefiner(8, stages_per_round=2, **SMALL), **GREEDY),
    "conv": VQDRAW(
        4, 8, refiner=ConvRefiner((8, 8), n_channels=8, downsampling=2, **SMALL), **GREEDY
    ),
    "shared-trunks": VQDRAW(
        4,
        4,
        refiner=MLPRefiner(4, stages_per_round=1, rounds_per_trunk=2, **SMALL),
        early_stopping=True,
        encoding="ordinal",
        **GREEDY,
    ),
    "boosting": ClusterBoosting(4, 8, shrinkage="auto", random_state=0),
    "boosting-log-loss": ClusterBoosting(3, 8, loss="log_loss", random_state=0),
}


def clearest(model, X):
    """Return the rows whose codes are the least in doubt: a last bit must not change one."""
    codes = model.encode(X)
    doubt = np.zeros(len(X))
    for s in range(model.n_stages):
        prefixes = [codes[:, :s], np.empty((len(X), 1), dtype=int)]
        losses_KN = np.empty((model.n_options, len(X)))
        for k in range(model.n_options):
            prefixes[1][:] = k
            losses_KN[k] = model.loss_.rows(model._parameters(np.column_stack(prefixes)), X)
        best, second = np.sort(losses_KN, axis=0)[:2]
        doubt = np.maximum(doubt, best / second)
    return X[np.argsort(doubt)[:N_ROWS]], np.sort(doubt)[N_ROWS]


if __name__ == "__main__":
    X = load_digits_images().data
    FOLDER.mkdir()
    for name, model in MODELS.items():
        model.fit(pd.DataFrame(X).rename(columns="Größe {}".format) if name == "boosting" else X)
        model.save(FOLDER / f"{name}.safetensors")
        rows, doubt = clearest(model, X)
        print(
            f"{name}: the second best option has an error at least {1 / doubt:.3f} times as large"
        )
        codes = model.encode(rows)
        arrays = {"decoded": model.decode(codes), "decoded_prefix": model.decode(codes[:, :2])}
        np.savez_compressed(FOLDER / f"{name}.npz", X=rows, codes=codes, **arrays)
