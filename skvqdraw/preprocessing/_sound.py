"""From recordings to rows of log-mel frames and back.

Axes: N recordings, L samples of one, T frames, F frequencies, M mel bands.
"""

from numbers import Integral, Real

import numpy as np
from scipy.signal import ShortTimeFFT
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from .._numbers import check_numbers
from .._rows import pieces
from .._sklearn import Interval, validate_params

__all__ = ["LogMelSpectrogram"]

# Steps of the search for powers of frequencies that add up to those of bands.
_SPREADS = 50
# How far phases go on as they changed last: what the paper of the fast algorithm recommends.
_MOMENTUM = 0.99
# Full scale of signed samples, by their bits.
_FULL_SCALE = {bits: 2 ** (bits - 1) for bits in (8, 16, 24, 32, 64)}
# A larger absolute value of a float is not overshoot but another unit. Resampling and mixing
# overshoot by a factor of a few, and `inverse_transform` of 0 decibels in all bands by 16. 16-bit
# samples with a peak below this bound are quieter than -60 decibels: noise at most.
_MOST_OVERSHOOT = 32
# What `inverse_transform` takes, in decibels. Recordings within that bound have less than 40.
_MOST_DECIBELS = 100


class LogMelSpectrogram(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn recordings into rows of log-mel frames, and rows into sound.

    A row says how loud each of `n_mels` bands of frequencies is in each of `n_frames` short frames,
    in decibels. Bands are as wide as the ear tells frequencies apart: narrow where they are low.
    The inverse finds phases with the algorithm of Griffin and Lim.

    Parameters
    ----------
    n_frames : int, default=64
        Number of frames of a row. Longer recordings are cut, shorter ones are followed by silence.
        64 are 0.61 seconds with the other defaults.
    n_mels : int, default=40
        Number of bands, from 0 to half the sample rate. 20 to 80 are usual for speech.
    sample_rate : float, default=8000
        Samples a second of the recordings, in Hz.
    frame_length : int, default=256
        Number of samples that a frame sees. Longer ones tell frequencies better apart, and moments
        worse: 0.02 to 0.05 seconds are usual for speech.
    hop_length : int, default=80
        Number of samples from the start of a frame to the start of the next: up to half of
        `frame_length`. Fewer make smoother sound, and more frames of a second.
    floor : float, default=-80.0
        What is less loud counts as silence, in decibels: 0 is a tone as loud as it can be. What
        codes spend on sounds that nobody hears is lost to others: -50 to -100. The least is -3000,
        since powers below it are hardly more than 0 in float64.
    n_iter : int, default=32
        Steps of the search for phases in `inverse_transform`. 0 leaves them to chance; more take
        longer, and gain less each.

    See Also
    --------
    skvqdraw.refiners.SequenceRefiner : Rows are its sequences of `n_frames` positions of `n_mels`
        channels.
    skvqdraw.datasets.load_recordings : Short recordings.

    Notes
    -----
    It learns nothing: `fit` only checks parameters and recordings. Recordings have numbers in
    [-1, 1]. Numbers of int16 are divided by 32768. Integers of other dtypes do not show their
    range, so divide them yourself. Floats beyond 32 are in another unit, and an error names the
    division. Sound from `inverse_transform` may be larger at its peaks, where other phases add up:
    ``clip(-1, 1)`` it before you write a file.

    References
    ----------
    Daniel Griffin and Jae Lim, "Signal Estimation from Modified Short-Time Fourier Transform",
    IEEE Transactions on Acoustics, Speech, and Signal Processing, 1984; Nathanaël Perraudin, Peter
    Balazs and Peter Søndergaard, "A Fast Griffin-Lim Algorithm", WASPAA 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw.preprocessing import LogMelSpectrogram
    >>> seconds = np.arange(4000) / 8000
    >>> recordings = [np.sin(2 * np.pi * 440 * seconds), np.sin(2 * np.pi * 880 * seconds[:2000])]
    >>> log_mel = LogMelSpectrogram(n_frames=64, n_mels=40)
    >>> X = log_mel.fit_transform(recordings)
    >>> X.shape
    (2, 2560)
    >>> X.reshape(2, 64, 40)[:, 10].argmax(axis=1)  # the loudest band
    array([10, 17])
    >>> log_mel.inverse_transform(X).shape
    (2, 4912)
    """

    _parameter_constraints: dict = {
        "n_frames": [Interval(Integral, 2, None, closed="left")],
        "n_mels": [Interval(Integral, 1, None, closed="left")],
        # Below the least, float64 does not resolve the mel scale.
        "sample_rate": [Interval(Real, 1e-6, None, closed="left")],
        "frame_length": [Interval(Integral, 2, None, closed="left")],
        "hop_length": [Interval(Integral, 1, None, closed="left")],
        "floor": [Interval(Real, -3000, 0, closed="left")],
        "n_iter": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_frames=64,
        n_mels=40,
        *,
        sample_rate=8000,
        frame_length=256,
        hop_length=80,
        floor=-80.0,
        n_iter=32,
    ):
        self.n_frames = n_frames
        self.n_mels = n_mels
        self.sample_rate = sample_rate
        self.frame_length = frame_length
        self.hop_length = hop_length
        self.floor = floor
        self.n_iter = n_iter

    def fit(self, X, y=None):
        """Check parameters and recordings.

        Parameters
        ----------
        X : sequence of array-likes of shape (n_samples_of_it,)
            Recordings, see `transform`.
        y : None
            Ignored.

        Returns
        -------
        self : LogMelSpectrogram
            The same object.

        Raises
        ------
        TypeError
            If X is no sequence of recordings.
        ValueError
            If a parameter is out of its range, or a recording is not 1-D, not finite or of another
            dtype or range.
        """
        self._transforms()
        _recordings(X)
        return self

    def transform(self, X):
        """Return how loud recordings are in each frame and band.

        Parameters
        ----------
        X : sequence of array-likes of shape (n_samples_of_it,)
            Recordings of any length, at least one, or an array or frame of shape (n_recordings,
            n_samples_of_each): floats in [-1, 1], or int16.

        Returns
        -------
        Z : ndarray of shape (n_recordings, n_frames * n_mels), dtype float32
            Decibels, frame by frame: those of a recording are ``Z[i].reshape(n_frames, n_mels)``.

        Raises
        ------
        TypeError
            If X is no sequence of recordings.
        ValueError
            If a parameter is out of its range, or a recording is not 1-D, not finite or of another
            dtype or range.
        """
        stft, filters_MF, n_samples = self._transforms()
        waves = _recordings(X)
        Z_ND = np.empty((len(waves), self._n_features_out), np.float32)
        for piece in pieces(*Z_ND.shape, whole_tiles=False):
            waves_NL = np.zeros((len(waves[piece]), n_samples))
            for wave_L, row_L in zip(waves[piece], waves_NL, strict=True):
                row_L[: len(wave_L)] = wave_L[:n_samples]
            mel_NMT = filters_MF @ np.square(np.abs(stft.stft(waves_NL)))
            loud_NMT = 10 * np.log10(np.maximum(mel_NMT, 10 ** (self.floor / 10)))
            Z_ND[piece] = loud_NMT.transpose(0, 2, 1).reshape(len(waves_NL), -1)
        return Z_ND

    def inverse_transform(self, X):
        """Return recordings that are as loud in each frame and band, as nearly as can be found.

        Parameters
        ----------
        X : array-like of shape (n_recordings, n_frames * n_mels)
            Decibels, as `transform` returns them. What is not above `floor` is silence.

        Returns
        -------
        recordings : ndarray of shape (n_recordings, n_samples_of_each), dtype float32
            With phases that are not those of the original. A recording does not depend on which
            others are transformed with it.

        Raises
        ------
        ValueError
            If a parameter is out of its range, or X is not 2-D, not finite, of another width or
            louder than 100 decibels.
        """
        stft, filters_MF, n_samples = self._transforms()
        X = check_numbers(X, "X", dtype=np.float64)
        if X.shape[1] != self._n_features_out:
            raise ValueError(
                f"X must have n_frames * n_mels = {self._n_features_out} columns; got "
                f"{X.shape[1]}. Pass what transform returns, with the same parameters."
            )
        if X.max() > _MOST_DECIBELS:
            raise ValueError(
                f"X must hold decibels of at most {_MOST_DECIBELS}; got {X.max():.6g}. Pass what "
                "transform returns, not powers."
            )
        recordings_NL = np.empty((len(X), n_samples), np.float32)
        for piece in pieces(*X.shape, whole_tiles=False):
            loud_NMT = X[piece].reshape(-1, self.n_frames, self.n_mels).transpose(0, 2, 1)
            power_NMT = np.where(loud_NMT > self.floor, 10 ** (loud_NMT / 10), 0)
            size_NFT = np.sqrt(_spread(power_NMT, filters_MF))
            recordings_NL[piece] = _waves_of(size_NFT, stft, n_samples, self.n_iter)
        return recordings_NL

    @property
    def _n_features_out(self):
        return int(self.n_frames) * int(self.n_mels)

    def _transforms(self):
        """Return the Fourier transform of frames, mel filters, and how long recordings become."""
        validate_params(self)
        # Python's: sums of numpy's narrow integers overflow.
        length, hop, n_frames = map(int, (self.frame_length, self.hop_length, self.n_frames))
        if hop > length // 2:
            raise ValueError(
                f"hop_length must be at most half of frame_length={length}; got {hop}. Sound "
                "between frames would be lost: set fewer."
            )
        stft = ShortTimeFFT.from_window(
            "hann",
            self.sample_rate,
            length,
            length - hop,
            fft_mode="onesided2X",
            scale_to="magnitude",
        )
        # Frames are centered at multiples of the hop, the first ones before the recording. It ends
        # where the frame after the last one would start.
        n_samples = (n_frames + stft.p_min) * hop - length // 2
        if n_samples < length:
            raise ValueError(
                f"n_frames={n_frames} frames must be longer than frame_length={length} samples; "
                "set more frames, or shorter ones."
            )
        # With a hop of 1, the last frame would see a single sample, with a window's first weight.
        # That is 0, so the transform leaves this frame out.
        n_samples += int(stft.p_num(n_samples) < n_frames)
        return stft, self._filters(stft.f), n_samples

    def _filters(self, frequencies_F):
        """Return triangles that are as wide as each other on the mel scale."""
        n_mels = int(self.n_mels)
        top = 2595 * np.log10(1 + self.sample_rate / 2 / 700)
        # A frequency is in two bands at most. More bands are refused before a huge matrix is made.
        if n_mels <= 2 * len(frequencies_F):
            corners = 700 * (10 ** (np.linspace(0, top, n_mels + 2) / 2595) - 1)
            low_M1, middle_M1, high_M1 = corners[:-2, None], corners[1:-1, None], corners[2:, None]
            rising_MF = (frequencies_F - low_M1) / (middle_M1 - low_M1)
            falling_MF = (high_M1 - frequencies_F) / (high_M1 - middle_M1)
            filters_MF = np.minimum(rising_MF, falling_MF).clip(min=0)
            if filters_MF.any(axis=1).all():
                return filters_MF
        raise ValueError(
            f"n_mels={n_mels} bands must not be narrower than what frames of "
            f"frame_length={self.frame_length} samples tell apart; set fewer bands, or longer "
            "frames."
        )


def _recordings(X):
    """Return recordings as 1-D arrays of floats, or refuse them."""
    single = isinstance(X, (str, bytes, dict, set)) or getattr(X, "shape", None) == ()
    if single or not hasattr(X, "__len__"):
        raise TypeError(
            "X must be a sequence of recordings, 1-D arrays of numbers; got "
            f"{type(X).__name__}. Pass [X] if it is a single one."
        )
    if hasattr(X, "columns"):  # of a frame, which iterates over its columns or over their names
        X = _rows_of_frame(X)
    waves = [_wave(wave, row) for row, wave in enumerate(X)]
    if not waves:
        raise ValueError("X must hold at least one recording; got none. Pass some.")
    _check_scale(waves)
    return [w if w.dtype.kind == "f" else w / float(_FULL_SCALE[16]) for w in waves]


def _rows_of_frame(X):
    """Return the rows of a pandas or polars frame."""
    rows = np.asarray(X)
    # pandas' nullable numbers come as objects; missing ones are no numbers and stay objects.
    if rows.dtype == object and all(isinstance(value, Real) for value in rows.flat):
        rows = np.asarray(rows.tolist())
    return rows


def _wave(wave, row):
    """Return a recording as a 1-D array of finite numbers, or refuse it."""
    if np.ma.is_masked(wave):
        raise ValueError(
            f"X must hold no masked values; got some at row {row}. Leave it out, or fill them with "
            "0: x.filled(0)."
        )
    try:
        wave = np.asarray(wave)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError is PyTorch's
        raise ValueError(
            "X must hold recordings, 1-D arrays of floats or int16; got "
            f"{type(wave).__name__} at row {row}, which numpy cannot convert ({error}). Convert "
            "it to a numpy array of floats."
        ) from error
    if wave.ndim != 1:
        raise _refused(wave, row, "Mix channels into one, and pass [X] if X is a single recording.")
    if wave.dtype.kind not in "iuf":
        raise _refused(
            wave, row, "Convert it to floats; of a frame's column of arrays, pass the column."
        )
    if not np.isfinite(wave).all():
        raise ValueError(
            f"X must hold finite numbers; got NaN or infinity at row {row}. Leave it out, or "
            "fill what is missing with 0."
        )
    return wave


def _refused(wave, row, todo):
    return ValueError(
        "X must hold recordings, 1-D arrays of floats in [-1, 1] or of int16; got shape "
        f"{wave.shape} and dtype {wave.dtype} at row {row}. {todo}"
    )


def _check_scale(waves):
    """Refuse recordings whose full scale is not known, or not 1."""
    wrong = [row for row, wave in enumerate(waves) if not _has_known_scale(wave)]
    if wrong:
        first = waves[wrong[0]]
        # The loudest one shows best how many bits all of them have.
        alike = [waves[row] for row in wrong if waves[row].dtype == first.dtype]
        lowest = min(float(wave.min(initial=0)) for wave in alike)
        peak = max(float(wave.max(initial=0)) for wave in alike)
        division = _division(first.dtype, lowest, max(peak, -lowest))
        raise _refused(
            first,
            wrong[0],
            f"Values reach from {lowest:.6g} to {peak:.6g}. Divide each recording x, as an array, "
            f"by its full scale: {division}.",
        )


def _has_known_scale(wave):
    if wave.dtype.kind == "f":
        return -wave.min(initial=0) <= _MOST_OVERSHOOT >= wave.max(initial=0)
    return wave.dtype.kind == "i" and wave.dtype.itemsize == 2


def _division(dtype, lowest, peak):
    """Return which division makes recordings of such a range floats in [-1, 1], as text."""
    if dtype.kind == "u" or (dtype.kind == "f" and lowest == 0 and peak <= 255):
        half = _FULL_SCALE[8 if dtype.kind == "f" else 8 * dtype.itemsize]
        return f"(x - {half}.0) / {half}"  # silence is in the middle of the range
    least_bits = 8 if dtype.kind == "i" and dtype.itemsize == 1 else 16
    for bits, full_scale in _FULL_SCALE.items():
        if bits >= least_bits and peak <= full_scale:
            return f"x / {full_scale}.0 if samples have {bits} bits, as the peak suggests"
    return "x / abs(x).max()"


def _spread(power_NMT, filters_MF):
    """Return powers of frequencies, 0 or more, that filters would sum up to those of bands.

    Each is multiplied by how much too little its bands have: the least squared difference with
    all numbers positive (Lee and Seung, "Algorithms for Non-negative Matrix Factorization", 2001).
    """
    wanted_NFT = filters_MF.T @ power_NMT
    products_FF = filters_MF.T @ filters_MF
    power_NFT = wanted_NFT
    for _ in range(_SPREADS):
        now_NFT = products_FF @ power_NFT
        power_NFT = power_NFT * np.divide(
            wanted_NFT, now_NFT, out=np.zeros_like(now_NFT), where=now_NFT > 0
        )
    return power_NFT


def _waves_of(size_NFT, stft, n_samples, n_iter):
    """Return recordings whose frames have such sizes of frequencies, as nearly as can be found.

    In turn, frames are made what some recording has, and of the right size.
    """
    turns_FT = np.random.RandomState(0).uniform(0, 2 * np.pi, size_NFT.shape[1:])
    frames_NFT, before_NFT = size_NFT * np.exp(1j * turns_FT), 0
    for step in range(n_iter):
        found_NFT = stft.stft(stft.istft(frames_NFT, k1=n_samples))
        ahead_NFT = found_NFT + (_MOMENTUM * (found_NFT - before_NFT) if step else 0)
        length_NFT = np.abs(ahead_NFT)
        length_NFT[length_NFT == 0] = 1
        frames_NFT, before_NFT = size_NFT * ahead_NFT / length_NFT, found_NFT
    return stft.istft(frames_NFT, k1=n_samples)
