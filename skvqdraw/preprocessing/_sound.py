"""From recordings to rows of log-mel frames and back.

Axes: N recordings, L samples of one, T frames, F frequencies, M mel bands.
"""

from numbers import Integral, Real

import numpy as np
from scipy.signal import ShortTimeFFT
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array

from .._rows import pieces
from .._sklearn import Interval, validate_params

__all__ = ["LogMelSpectrogram"]

# Steps of the search for powers of frequencies that add up to those of bands.
_SPREADS = 50
# How far phases go on as they changed last: what the paper of the fast algorithm recommends.
_MOMENTUM = 0.99


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
        codes spend on sounds that nobody hears is lost to others: -50 to -100.
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
    It learns nothing: `fit` only checks parameters. Recordings have numbers in [-1, 1]; integers
    are divided by what makes them so. Sound from `inverse_transform` may be larger at its peaks,
    where other phases add up: ``clip(-1, 1)`` it before you write a file.

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
        "sample_rate": [Interval(Real, 0, None, closed="neither")],
        "frame_length": [Interval(Integral, 2, None, closed="left")],
        "hop_length": [Interval(Integral, 1, None, closed="left")],
        "floor": [Interval(Real, None, 0, closed="neither")],
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
            If a parameter is out of its range, or a recording is not 1-D or not finite.
        """
        self._transforms()
        _recordings(X)
        return self

    def transform(self, X):
        """Return how loud recordings are in each frame and band.

        Parameters
        ----------
        X : sequence of array-likes of shape (n_samples_of_it,)
            Recordings of any length, at least one, or an array of shape (n_recordings,
            n_samples_of_each): floats in [-1, 1] or signed integers of any range.

        Returns
        -------
        Z : ndarray of shape (n_recordings, n_frames * n_mels), dtype float32
            Decibels, frame by frame: those of a recording are ``Z[i].reshape(n_frames, n_mels)``.

        Raises
        ------
        TypeError
            If X is no sequence of recordings.
        ValueError
            If a parameter is out of its range, or a recording is not 1-D or not finite.
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
            If a parameter is out of its range, or X is not 2-D, not finite or of another width.
        """
        stft, filters_MF, n_samples = self._transforms()
        X = check_array(X, dtype=np.float64, input_name="X")
        if X.shape[1] != self._n_features_out:
            raise ValueError(
                f"X must have n_frames * n_mels = {self._n_features_out} columns; got "
                f"{X.shape[1]}. Pass what transform returns, with the same parameters."
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
        return self.n_frames * self.n_mels

    def _transforms(self):
        """Return the Fourier transform of frames, mel filters, and how long recordings become."""
        validate_params(self)
        if self.hop_length > self.frame_length // 2:
            raise ValueError(
                f"hop_length must be at most half of frame_length={self.frame_length}; got "
                f"{self.hop_length}. Sound between frames would be lost: set fewer."
            )
        stft = ShortTimeFFT.from_window(
            "hann",
            self.sample_rate,
            self.frame_length,
            self.frame_length - self.hop_length,
            fft_mode="onesided2X",
            scale_to="magnitude",
        )
        # The last sample that frames see: they are centred at multiples of the hop, the first ones
        # before the recording.
        n_samples = (self.n_frames + stft.p_min) * self.hop_length - self.frame_length // 2
        if n_samples < self.frame_length:
            raise ValueError(
                f"n_frames={self.n_frames} frames must be longer than frame_length="
                f"{self.frame_length} samples; set more frames, or shorter ones."
            )
        return stft, self._filters(stft.f), n_samples

    def _filters(self, frequencies_F):
        """Return triangles that are as wide as each other on the mel scale."""
        top = 2595 * np.log10(1 + self.sample_rate / 2 / 700)
        corners = 700 * (10 ** (np.linspace(0, top, self.n_mels + 2) / 2595) - 1)
        low_M1, middle_M1, high_M1 = corners[:-2, None], corners[1:-1, None], corners[2:, None]
        rising_MF = (frequencies_F - low_M1) / (middle_M1 - low_M1)
        falling_MF = (high_M1 - frequencies_F) / (high_M1 - middle_M1)
        filters_MF = np.minimum(rising_MF, falling_MF).clip(min=0)
        if not filters_MF.any(axis=1).all():
            raise ValueError(
                f"n_mels={self.n_mels} bands must not be narrower than what frames of "
                f"frame_length={self.frame_length} samples tell apart; set fewer bands, or longer "
                "frames."
            )
        return filters_MF


def _recordings(X):
    """Return recordings as 1-D arrays of floats, or say what is wrong with them."""
    if isinstance(X, (str, bytes)) or not hasattr(X, "__len__"):
        raise TypeError(
            "X must be a sequence of recordings, 1-D arrays of numbers; got "
            f"{type(X).__name__}. Pass [X] if it is a single one."
        )
    waves = [np.asarray(wave) for wave in X]
    if not waves:
        raise ValueError("X must hold at least one recording; got none. Pass some.")
    for row, wave in enumerate(waves):
        if wave.ndim != 1 or wave.dtype.kind not in "if":
            raise ValueError(
                "X must hold recordings, 1-D arrays of floats or signed integers; got shape "
                f"{wave.shape} and dtype {wave.dtype} at row {row}. Mix channels into one, and "
                "pass [X] if X is a single recording."
            )
        if wave.dtype.kind == "f" and not np.isfinite(wave).all():
            raise ValueError(
                f"X must hold finite numbers; got NaN or infinity at row {row}. Leave it out, or "
                "fill what is missing with 0."
            )
    return [w if w.dtype.kind == "f" else w / -float(np.iinfo(w.dtype).min) for w in waves]


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
