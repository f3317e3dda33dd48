"""
========================================
Spoken digits in 60 bits: seen and heard
========================================

A recording becomes a row of log-mel frames, the row ten integers below 64, and these become sound
again. A classifier reads the same integers, one-hot.

The recordings are spoken digits where the folder that ``SKVQDRAW_DATA`` names has them (see
:func:`skvqdraw.datasets.load_recordings`), else tones whose pitch moves in six ways. It runs in
half a minute.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.io import wavfile
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.datasets import load_recordings
from skvqdraw.preprocessing import LogMelSpectrogram, PatchPCA
from skvqdraw.refiners import SequenceRefiner

# %%
# Rows of 64 frames, each with the loudness of 40 bands of frequencies, in decibels. What is less
# loud than -60 decibels counts as silence, so that no bits are spent on it. All recordings are made
# equally loud.
recordings = load_recordings()


def loud(waves):
    """Return recordings with peaks of 0.5."""
    return [0.5 * wave / np.abs(wave.astype(float)).max() for wave in waves]


log_mel = LogMelSpectrogram(n_frames=64, n_mels=40, hop_length=100, floor=-60.0)
waves, waves_test = loud(recordings.data), loud(recordings.data_test)
X, X_test = log_mel.transform(waves), log_mel.transform(waves_test)
print(f"{recordings.name}: {len(X)} recordings to learn from, {len(X_test)} others.")

# %%
# Four frames at a time become 40 principal components, and these are the channels of a sequence of
# 16 positions. Ten stages refine it.
patches = PatchPCA((64, 40), (4,), n_components=40)
vq = VQDRAW(
    n_stages=10,
    n_options=64,
    refiner=SequenceRefiner(16, 40, downsampling=1, stages_per_round=(4, 5), hidden_size=64),
    max_steps=150,
    random_state=0,
)
vq.fit(patches.fit_transform(X))
boosting = ClusterBoosting(n_stages=10, n_options=64, random_state=0).fit(X)
codes = vq.encode(patches.transform(X_test))
back = patches.inverse_transform(vq.decode(codes))
for name, rows in (("VQDRAW", back), ("ClusterBoosting", boosting.reconstruct(X_test))):
    print(f"{name}: {np.sqrt(np.mean((rows - X_test) ** 2)):.1f} decibels off, with 60 bits.")

# %%
# Two recordings before and after, and what 24 bits tell of them. Time runs to the right, and low
# frequencies are below.
shown = [0, -1]
columns = {
    "recorded": X_test[shown],
    "60 bits": back[shown],
    "first 24 bits": patches.inverse_transform(vq.decode(codes[shown, :4])),
}
fig, axes = plt.subplots(len(shown), len(columns), figsize=(9, 4), layout="constrained")
for axes_of_row, row in zip(axes, range(len(shown)), strict=True):
    for ax, (title, rows) in zip(axes_of_row, columns.items(), strict=True):
        ax.imshow(rows[row].reshape(64, 40).T, origin="lower", aspect="auto", vmin=-60, vmax=-10)
        name = recordings.target_names[recordings.target_test[shown[row]]]
        ax.set(title=f"{name}, {title}", xticks=[], yticks=[])

# %%
# The same as sound. The algorithm of Griffin and Lim finds phases, of which a log-mel frame says
# nothing; where they add up, sound may get louder than a file can hold.
for title, rows in columns.items():
    for row, wave in enumerate(log_mel.inverse_transform(rows)):
        samples = np.round(wave.clip(-1, 1) * 32767).astype(np.int16)
        wavfile.write(f"sound-{row}-{title.replace(' ', '-')}.wav", recordings.sample_rate, samples)

# %%
# What a classifier reads from ten integers, and from all 2,560 numbers of a row.
classifier = SVC(C=10)
for name, features in (
    ("codes of VQDRAW", make_pipeline(patches, vq)),
    ("codes of ClusterBoosting", boosting),
    ("log-mel frames", make_pipeline("passthrough")),
):
    classifier.fit(features.transform(X), recordings.target)
    accuracy = classifier.score(features.transform(X_test), recordings.target_test)
    print(f"recognised from {name}: {accuracy:.0%}")

plt.show()

# %%
# **Take away**: :class:`~skvqdraw.preprocessing.LogMelSpectrogram` is the way from recordings to
# rows and back, and :class:`~skvqdraw.refiners.SequenceRefiner` codes them. 60 bits keep what was
# said and how it sounds, roughly. What comes back is nearer than from cluster boosting; as features
# of the six kinds of tones, the codes of that are as good or better. :doc:`The benchmarks
# </benchmarks>` tell how many spoken digits a classifier understands after longer fits, beside a
# speech codec.
