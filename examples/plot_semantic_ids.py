"""
================================================
Semantic IDs: a number that says what an item is
================================================

Recommenders name an item by the code of its embedding: items whose IDs begin alike are alike. Here
the items are functions and classes of NumPy, SciPy and scikit-learn, embedded by the words of their
docstrings. The longer the prefix that two IDs share, the more often they are from one module.
"""

from importlib import import_module

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.cluster import pair_confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.metrics import collision_rate, perplexity

# %%
# Some 1,600 items. Latent semantic analysis makes 64 numbers of each text; vectors of a language
# model would be used the same way.
packages = {
    "numpy": ["fft", "linalg", "ma", "random"],
    "scipy": ["fft", "integrate", "linalg", "ndimage", "optimize", "signal", "special", "stats"],
    "sklearn": ["cluster", "decomposition", "ensemble", "linear_model", "metrics", "svm", "tree"],
}
texts = {}
for module in [f"{package}.{part}" for package, parts in packages.items() for part in parts]:
    for name, item in vars(import_module(module)).items():
        text = item.__doc__ if callable(item) and not name.startswith("_") else None
        if isinstance(text, str) and len(text) > 200:
            texts.setdefault(text, (module, name))  # once, if it has several names
modules, names = np.array(list(texts.values())).T
words = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=3)
X = make_pipeline(words, TruncatedSVD(64, random_state=0), Normalizer()).fit_transform(texts)


# %%
# IDs of four integers below 16; their perplexity tells how many of the 16 are in use, in effect.
def agreement(prefixes):
    """Return how often two items that share a prefix share the module too."""
    groups = np.unique(prefixes, axis=0, return_inverse=True)[1]
    (_, other), (_, same) = pair_confusion_matrix(modules, groups)
    return same / (same + other)


lengths = range(1, 5)
_, ax = plt.subplots(layout="constrained")
for model in (ClusterBoosting(4, 16, random_state=0), VQDRAW(4, 16, max_steps=200, random_state=0)):
    name, codes = type(model).__name__, model.fit(X).encode(X)
    print(f"{name}: perplexity {perplexity(codes).round(1)}")
    [line] = ax.plot(lengths, [agreement(codes[:, :s]) for s in lengths], "o-", label=name)
    ax.plot(lengths, collision_rate(codes), "s--", color=line.get_color())
ax.axhline(agreement(np.zeros((len(X), 1))), color="0.5", label="any two items")
ax.set(xlabel="integers in common", xticks=lengths, ylim=(0, 1.02))
ax.set_ylabel("pairs of one module (solid), items not alone (dashed)")
_ = ax.legend(loc="lower right")

# %%
# Down the hierarchy, by the ID that VQDRAW gave to ``scipy.fft.dct``, a cosine transform.
item = list(texts.values()).index(("scipy.fft", "dct"))
for s in lengths:
    alike = np.flatnonzero((codes[:, :s] == codes[item, :s]).all(axis=1))
    print(f"{codes[item, :s]}: {len(alike)} items, such as {', '.join(names[alike[:6]])}")

# %%
# Many items share their ID: texts that differ in a word or two, as those of probability
# distributions do. One more integer, counting up among them, sets them apart.
count = [(codes[:i] == codes[i]).all(axis=1).sum() for i in range(len(codes))]
for name, ids in {"four integers": codes, "and a count": np.column_stack([codes, count])}.items():
    print(f"{name}: {collision_rate(ids)[-1]:.1%} of the items are not alone")

# %%
# **Take away**: the longer the prefix in common, the closer the items. Where options are used
# evenly, as VQ-DRAW does, fewer items collide, and a count takes care of the rest.
