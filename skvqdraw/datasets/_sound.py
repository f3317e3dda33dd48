"""Short recordings, from a folder or made by formula: nothing is downloaded."""

import numpy as np
from sklearn.utils import Bunch, check_random_state

from ._common import check_arrays, check_count, data_path, read_arrays

_SAMPLE_RATE = 8000
# Made for training and for tests, where there are no digits.
_N_MADE, _N_MADE_TEST = 900, 300
# How pitch moves from the start of a tone, 0, to its end, 1: in octaves from its middle one.
_MOVES = {
    "steady": np.zeros_like,
    "rising": lambda t: t - 0.5,
    "falling": lambda t: 0.5 - t,
    "rising and falling": lambda t: np.sin(np.pi * t) - 0.5,
    "falling and rising": lambda t: 0.5 - np.sin(np.pi * t),
    "trill": lambda t: 0.15 * np.sin(2 * np.pi * 6 * t),
}


def make_tones(n_samples=600, *, random_state=None):
    """Make short tones of six kinds, told apart by how their pitch moves.

    Each has a pitch, a timbre of four harmonics, a length and a loudness of its own, and some noise
    behind it.

    Parameters
    ----------
    n_samples : int, default=600
        Number of tones.
    random_state : int, RandomState instance or None, default=None
        Seed of them all.

    Returns
    -------
    tones : Bunch
        `data`, an array of dtype object that holds 1-D arrays, float32 in [-1, 1] and 0.3 to 0.6
        seconds long; `target`, the number of the kind of each; `target_names`, the list of kinds;
        `sample_rate`, 8000 Hz.

    Raises
    ------
    ValueError
        If n_samples is not a positive integer.

    See Also
    --------
    load_recordings : Spoken digits where they are found, else these.

    Examples
    --------
    >>> from skvqdraw.datasets import make_tones
    >>> tones = make_tones(100, random_state=0)
    >>> len(tones.data), tones.data[0].ndim, tones.target_names[:3]
    (100, 1, ['steady', 'rising', 'falling'])
    """
    check_count("n_samples", n_samples, "600 is the default.")
    rng = check_random_state(random_state)
    kinds = list(_MOVES)
    target = rng.randint(len(kinds), size=n_samples)
    data = np.empty(n_samples, object)
    for row, kind in enumerate(target):
        n = rng.randint(int(0.3 * _SAMPLE_RATE), int(0.6 * _SAMPLE_RATE))
        along = np.linspace(0, 1, n)
        hertz = rng.uniform(150, 450) * 2 ** _MOVES[kinds[kind]](along)
        turns = np.cumsum(hertz) / _SAMPLE_RATE
        harmonics = np.sin(2 * np.pi * np.outer(range(1, 5), turns))
        loudness = rng.uniform(0.1, 0.5) * np.sin(np.pi * along)
        tone = loudness * (rng.dirichlet(np.ones(4)) @ harmonics)
        data[row] = (tone + 0.001 * rng.normal(size=n)).clip(-1, 1).astype(np.float32)
    return Bunch(data=data, target=target, target_names=kinds, sample_rate=_SAMPLE_RATE)


def load_recordings():
    """Load short recordings to learn from, and others to test on. Nothing is downloaded.

    The file ``fsdd_audio_8khz.npz`` in the folder that the environment variable ``SKVQDRAW_DATA``
    names comes first: the Free Spoken Digit Dataset, 3,000 recordings of ten digits by six
    speakers, in the split that it came with. Recording ``i`` is
    ``audio[offsets[i] : offsets[i + 1]]``; `digit`, `speaker` and `is_test` say what it is, and
    `speakers` names these. Without it, there are tones: those of `make_tones`.

    Returns
    -------
    recordings : Bunch
        `data` and `data_test`, arrays of dtype object that hold 1-D arrays: 2,700 and 300 digits,
        int16, or 900 and 300 tones, float32 in [-1, 1]; `target` and `target_test`, integers;
        `target_names`, a list; `sample_rate`, 8000 Hz; `name`, ``"spoken digits"`` or ``"tones"``.
        Of digits, there are also `speaker` and `speaker_test`, integers, and `speaker_names`.

    Raises
    ------
    ValueError
        If that file does not hold such arrays.

    See Also
    --------
    skvqdraw.preprocessing.LogMelSpectrogram : Makes rows of them.

    References
    ----------
    Zohar Jackson and others, "Free Spoken Digit Dataset", 2018, CC BY-SA 4.0.

    Examples
    --------
    >>> from skvqdraw.datasets import load_recordings
    >>> recordings = load_recordings()
    >>> recordings.data[0].ndim, recordings.sample_rate
    (1, 8000)
    """
    path = data_path("fsdd_audio_8khz.npz")
    if path is None or not path.is_file():
        tones = make_tones(_N_MADE + _N_MADE_TEST, random_state=0)
        parts = {"data": tones.pop("data"), "target": tones.pop("target")}
        return Bunch(
            **_split(parts, np.arange(_N_MADE + _N_MADE_TEST) >= _N_MADE), **tones, name="tones"
        )
    names = "audio", "offsets", "digit", "speaker", "is_test", "speakers", "sample_rate"
    arrays = dict(zip(names, read_arrays(path, *names), strict=True))
    _check_recordings(path, arrays)
    audio, offsets, digit, speaker, is_test, speakers, sample_rate = arrays.values()
    data = np.empty(len(digit), object)
    for row, wave in enumerate(np.split(audio, offsets[1:-1])):
        data[row] = wave
    parts = {"data": data, "target": digit.astype(int), "speaker": speaker.astype(int)}
    return Bunch(
        **_split(parts, is_test.astype(bool)),
        target_names=[str(d) for d in range(10)],
        speaker_names=speakers.tolist(),
        sample_rate=int(sample_rate),
        name="spoken digits",
    )


def _check_recordings(path, arrays):
    """Refuse arrays that are no recordings, or do not say what each of them is."""
    audio, offsets = arrays["audio"], arrays["offsets"]
    of_each = [arrays[name] for name in ("digit", "speaker", "is_test")]
    ends_right = (
        audio.ndim == offsets.ndim == 1
        and len(offsets) > 1
        and offsets.dtype.kind in "iu"
        and (offsets[0], offsets[-1]) == (0, len(audio))
        and (offsets[1:] >= offsets[:-1]).all()
    )
    right = ends_right and all(
        array.shape == (len(offsets) - 1,) and array.dtype.kind in "biu" for array in of_each
    )
    allowed = (
        "have integer offsets that rise from 0 to the length of audio, and integers digit, speaker "
        "and is_test of each recording"
    )
    check_arrays(path, right, allowed, arrays)


def _split(parts, is_test):
    """Return what is for training, and the rest under names that say so."""
    train = {name: part[~is_test] for name, part in parts.items()}
    return train | {f"{name}_test": part[is_test] for name, part in parts.items()}
