"""
====================================
Text in 60 bits, and what they tell
====================================

Strings become rows of characters, rows ten integers below 64, and these become strings again. No
language model takes part. A sentence of 32 characters is written stage by stage. Then 60 bits of
another kind tell which package a text comes from.

The texts are docstrings of packages that are installed with this library. It runs in a minute.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvqdraw import VQDRAW
from skvqdraw.datasets import load_docstrings
from skvqdraw.losses import Categorical
from skvqdraw.preprocessing import CharacterTokenizer
from skvqdraw.refiners import SectionRefiner

# %%
# Windows of docstrings, half of them to learn from. The tokenizer gives each character a number,
# the loss scores guesses of all characters at each place, and the refiner writes a row section by
# section: each stage chooses the next few characters.
LENGTH = 32
packages = ["numpy", "scipy", "sklearn", "sympy", "networkx"]
docstrings = load_docstrings(packages, sequence_length=LENGTH, max_windows=400)
texts, texts_test = train_test_split(docstrings.data, test_size=0.5, random_state=0)
vq = VQDRAW(
    n_stages=10,
    n_options=64,
    loss=Categorical(),
    refiner=SectionRefiner(LENGTH, hidden_size=64),
    gradient_decay=1.0,
    max_steps=30,
    learning_rate=2e-2,
    random_state=0,
)
pipeline = make_pipeline(CharacterTokenizer(LENGTH), vq).fit(texts)
tokenizer = pipeline[0]
print(f"{len(texts)} windows of {LENGTH} characters, {tokenizer.n_symbols_} different symbols.")

# %%
# A sentence, stage by stage. What is not yet written is the most frequent character of its place, a
# blank.
sentence = "Return the mean of all values."
codes = vq.encode(tokenizer.transform([sentence]))
for stage in range(0, 11, 2):
    [text] = tokenizer.inverse_transform(vq.decode(codes[:, :stage]))
    print(f"{6 * stage:3d} bits | {text!r}")
print(f"         | {sentence!r}")

# %%
# The share of characters that come back right, for texts that were not trained on.
X_test = tokenizer.transform(texts_test[:300])
codes_test = vq.encode(X_test)
right = [np.mean(vq.decode(codes_test[:, :s]) == X_test) for s in range(11)]
fig, ax = plt.subplots(layout="constrained")
ax.plot(6 * np.arange(11), right, marker="o")
ax.set(xlabel="bits per text", ylabel="share of characters right", ylim=0)

# %%
# Random codes decode to something, too: this is what the codes take a text to be.
for text in tokenizer.inverse_transform(vq.sample(5, random_state=0)):
    print(repr(text))
# %%
# Which of ten packages is a text from? Those codes say what its first characters are. Here, codes
# say what a text consists of: how often neighbouring characters occur, reduced to 64 numbers. The
# classifier sees ten integers of each text, one-hot. Beside it, one that sees how often each
# character occurs.
docstrings = load_docstrings(sequence_length=128)
texts, texts_test, y, y_test = train_test_split(
    docstrings.data, docstrings.target, test_size=0.5, random_state=0, stratify=docstrings.target
)
classifier = LogisticRegression(C=0.1, max_iter=1000)
of_codes = make_pipeline(
    TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=3, sublinear_tf=True),
    TruncatedSVD(64, random_state=0),
    VQDRAW(n_stages=10, n_options=64, early_stopping=True, max_steps=50, random_state=0),
    classifier,
)
of_counts = make_pipeline(
    CountVectorizer(analyzer="char", lowercase=False), StandardScaler(with_mean=False), classifier
)
for name, model in (("60 bits", of_codes), ("character counts", of_counts)):
    print(f"packages recognised from {name}: {model.fit(texts, y).score(texts_test, y_test):.0%}")
print(f"by chance: {1 / len(docstrings.target_names):.0%}")

plt.show()

# %%
# **Take away**: with :class:`~skvqdraw.preprocessing.CharacterTokenizer` and
# :class:`~skvqdraw.losses.Categorical` the pipeline takes strings and gives strings.
# :class:`~skvqdraw.refiners.SectionRefiner` writes them from their start on. For codes that say
# something about all of a text, code what you would give to a classifier.
# :doc:`The benchmarks </benchmarks>` tell how far longer fits get.
