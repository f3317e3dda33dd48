"""
====================================
Text in 60 bits, and what they tell
====================================

Strings become rows of characters, rows ten integers below 64, and these become strings again. No
language model takes part. A sentence of 32 characters is written stage by stage; then a classifier
reads from nothing but 60 bits which package a text comes from.

The texts are docstrings of packages that are installed with this library. It runs in a minute.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
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
docstrings = load_docstrings(packages, sequence_length=LENGTH, max_windows=600)
texts, texts_test, y, y_test = train_test_split(
    docstrings.data, docstrings.target, test_size=0.5, random_state=0, stratify=docstrings.target
)
vq = VQDRAW(
    n_stages=10,
    n_options=64,
    loss=Categorical(),
    refiner=SectionRefiner(LENGTH, hidden_size=64),
    gradient_decay=1.0,
    max_steps=100,
    random_state=0,
)
pipeline = make_pipeline(CharacterTokenizer(LENGTH), vq)
Z, Z_test = pipeline.fit_transform(texts), pipeline.transform(texts_test)
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
X_test = tokenizer.transform(texts_test)
codes_test = vq.encode(X_test)
right = [np.mean(vq.decode(codes_test[:, :s]) == X_test) for s in range(11)]
fig, ax = plt.subplots(layout="constrained")
ax.plot(6 * np.arange(11), right, marker="o")
ax.set(xlabel="bits per text", ylabel="share of characters right", ylim=0)

# %%
# Which package is it? The classifier sees the ten integers, one-hot, and nothing of the text.
# Beside it, one that sees how often each character occurs: far more than 60 bits, but not where.
classifier = LogisticRegression(max_iter=1000)
of_codes = classifier.fit(Z, y).score(Z_test, y_test)
counts = make_pipeline(
    CountVectorizer(analyzer="char", lowercase=False), StandardScaler(with_mean=False), classifier
)
of_counts = counts.fit(texts, y).score(texts_test, y_test)
print(f"packages recognised: {of_codes:.0%} from 60 bits, {of_counts:.0%} from character counts,")
print(f"{1 / len(docstrings.target_names):.0%} by chance.")

# %%
# Random codes decode to something, too: this is what the codes take a text to be.
for text in tokenizer.inverse_transform(vq.sample(5, random_state=0)):
    print(repr(text))
plt.show()

# %%
# **Take away**: with :class:`~skvqdraw.preprocessing.CharacterTokenizer` and
# :class:`~skvqdraw.losses.Categorical` the pipeline takes strings and gives strings.
# :class:`~skvqdraw.refiners.SectionRefiner` writes them from their start on;
# :class:`~skvqdraw.refiners.SequenceRefiner` refines whole rows, for codes that say something about
# all of a row. :doc:`The benchmarks </benchmarks>` tell how far longer fits get.
