"""Write the golden streams of format 1. They are not to be written again: later versions read them.

python tests/data/make_streams.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_codec import PRIORS, formula_codes, stream_of

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    codes, lengths = formula_codes(300, 4, 6), np.arange(300) * 7 % 5
    for name, prior, given in (
        ("bits", "none", None),
        ("lengths", "none", lengths),
        ("marginal", "marginal", None),
        ("markov", "markov", None),
        ("markov-lengths", "markov", lengths),
    ):
        prior = PRIORS[prior](6)
        data = stream_of(codes, 6, prior and prior.fit(codes), given)
        (folder / f"{name}.skvq").write_bytes(data)
