"""Recordings as rows of log-mel frames, and back."""

import pickle
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.optimize import nnls
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skvqdraw import ClusterBoosting
from skvqdraw.datasets import make_tones
from skvqdraw.preprocessing import LogMelSpectrogram
from skvqdraw.preprocessing._sound import _spread

TONES = make_tones(12, random_state=0).data


def sine(hertz, seconds=0.5, sample_rate=8000):
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * sample_rate)) / sample_rate)


def to_mel(hertz):
    return 2595 * np.log10(1 + hertz / 700)


def naive(wave, log_mel):
    """Frame by frame and band by band, frames centred at multiples of the hop from before 0."""
    length, hop, rate = log_mel.frame_length, log_mel.hop_length, log_mel.sample_rate
    first = next(p for p in range(-length, 1) if p * hop + length - length // 2 > 0)
    window = np.hanning(length + 1)[:-1]
    # Where a next frame would start, but two samples of the last frame, since the first weighs 0.
    ends = (log_mel.n_frames + first - 1) * hop - length // 2 + max(hop, 2)
    padded = np.zeros(10 * length + ends)
    kept = wave[:ends]
    padded[5 * length : 5 * length + len(kept)] = kept
    rows = []
    for p in range(first, first + log_mel.n_frames):
        start = 5 * length + p * hop - length // 2
        spectrum = np.fft.rfft(padded[start : start + length] * window) / window.sum()
        spectrum[1 : (length + 1) // 2] *= 2  # what negative frequencies have
        row = []
        for band in range(log_mel.n_mels):
            corners = to_mel(rate / 2) * np.arange(band, band + 3) / (log_mel.n_mels + 1)
            low, middle, high = 700 * (10 ** (corners / 2595) - 1)
            hertz = np.arange(len(spectrum)) * rate / length
            weight = np.interp(hertz, [low, middle, high], [0, 1, 0])
            power = np.sum(weight * np.abs(spectrum) ** 2)
            row.append(10 * np.log10(max(power, 10 ** (log_mel.floor / 10))))
        rows.append(row)
    return np.concatenate(rows)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_frames": 9, "n_mels": 7, "frame_length": 63, "hop_length": 20, "floor": -40.0},
        {"n_frames": 20, "sample_rate": 16000, "frame_length": 512, "hop_length": 256},
        {"n_frames": 90, "n_mels": 5, "frame_length": 32, "hop_length": 1},
    ],
)
def test_frames_are_those_of_the_naive_ones(params):
    log_mel = LogMelSpectrogram(**params)
    found = log_mel.fit_transform(TONES[:4])
    expected = np.stack([naive(wave, log_mel) for wave in TONES[:4]])
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert found.dtype == np.float32


def test_rows_have_all_frames_at_any_hop():
    for length in range(3, 12):
        for hop in range(1, length // 2 + 1):
            log_mel = LogMelSpectrogram(40, 1, frame_length=length, hop_length=hop, n_iter=1)
            X = log_mel.fit_transform(TONES[:2])
            assert X.shape == (2, 40)
            assert log_mel.transform(log_mel.inverse_transform(X)).shape == (2, 40)


def test_a_full_tone_has_no_decibels():
    log_mel = LogMelSpectrogram(n_frames=40, n_mels=20)
    middles = 700 * (10 ** (to_mel(4000) * np.arange(1, 21) / 21 / 2595) - 1)
    for band in (8, 12, 19):
        frames = log_mel.transform([sine(middles[band])]).reshape(40, 20)
        assert frames[20].argmax() == band
        assert abs(frames[20, band]) < 2.5  # the window spreads it over some frequencies
        halved = log_mel.transform([0.5 * sine(middles[band])]).reshape(40, 20)
        np.testing.assert_allclose(frames[20, band] - halved[20, band], 6.02, atol=0.01)


def test_recordings_are_cut_or_followed_by_silence():
    log_mel = LogMelSpectrogram(n_frames=20)
    n_samples = log_mel.inverse_transform(np.full((1, 800), -80.0)).shape[1]
    long, short = sine(440), sine(440)[:500]
    padded = np.concatenate([short, np.zeros(n_samples - 500)])
    found = log_mel.transform([long, long[:n_samples], short, padded])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], found[3])
    assert (found[2].reshape(20, 40)[-3:] == -80).all()
    # The first sample beyond what is kept is one that no frame would have seen.
    assert log_mel.transform([np.eye(1, n_samples, n_samples - 1)[0]]).max() > -80


def test_integers_and_arrays_of_recordings_of_one_length():
    log_mel, waves = LogMelSpectrogram(n_frames=20), np.stack([sine(300), sine(700)])
    integers = np.round(waves * 2**15).clip(max=2**15 - 1).astype(np.int16)
    expected = log_mel.transform(integers / 2.0**15)
    np.testing.assert_array_equal(log_mel.transform(integers), expected)
    np.testing.assert_array_equal(log_mel.transform(list(integers)), expected)
    assert np.abs(log_mel.transform(waves) - expected).mean() < 1
    as_objects = np.empty(2, object)
    as_objects[:] = list(integers)
    np.testing.assert_array_equal(log_mel.transform(as_objects), expected)


SCALES = {
    "list of 16 bits": lambda wave: np.round(wave * 2**15).astype(int).tolist(),
    "int32 of 16 bits": lambda wave: np.round(wave * 2**15).astype(np.int32),
    "int64 of 16 bits": lambda wave: np.round(wave * 2**15).astype(np.int64),
    "int64 of 24 bits": lambda wave: np.round(wave * 2**23).astype(np.int64),
    "int32": lambda wave: np.round(wave * 2**31).astype(np.int32),
    "int64": lambda wave: np.round(wave * 2.0**63).astype(np.int64),
    "int8": lambda wave: np.round(wave * 2**7).astype(np.int8),
    "uint8": lambda wave: np.round(wave * 2**7 + 2**7).astype(np.uint8),
    "uint16": lambda wave: np.round(wave * 2**15 + 2**15).astype(np.uint16),
    "floats of 16 bits": lambda wave: wave * 2.0**15,
    "float32 of 16 bits": lambda wave: np.float32(wave * 2.0**15),
    "floats of 32 bits": lambda wave: wave * 2.0**31,
    "floats of unsigned 8 bits": lambda wave: np.round(wave * 2**7 + 2**7),
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("method", ["fit", "transform"])
def test_what_has_another_scale_is_refused_with_the_division_that_helps(scale, method):
    log_mel, wave = LogMelSpectrogram(n_frames=20), 0.9 * sine(440)
    quiet, loud = (SCALES[scale](part) for part in (1e-3 * wave, wave))
    if np.asarray(loud).dtype.kind == "f":
        quiet = sine(300)
    with pytest.raises(ValueError, match="Divide each recording x, as an array") as error:
        getattr(log_mel, method)([quiet, loud])
    division = re.search(r"full scale: (.*?)( if samples have .*)?\.$", str(error.value))[1]
    divided = eval(division, {"x": np.asarray(loud)})
    # An eighth bit of noise is the most.
    np.testing.assert_allclose(divided, wave, atol=2**-7)
    expected = log_mel.transform([wave])
    heard = expected > -30
    assert np.abs(log_mel.transform([divided]) - expected)[heard].max() < 1


def test_the_first_recording_of_another_scale_is_named():
    with pytest.raises(ValueError, match=r"dtype float64 at row 1\. Values reach from -2 to 40\."):
        LogMelSpectrogram().fit([sine(440), np.array([-2.0, 33.0]), np.array([40.0])])


def test_overshoot_is_no_other_scale():
    log_mel, wave = LogMelSpectrogram(n_frames=20, n_iter=4), sine(440)
    louder = log_mel.transform([32 * wave]) - log_mel.transform([wave])
    np.testing.assert_allclose(louder[log_mel.transform([wave]) > -80], 30.103, atol=1e-3)
    # Not even of frames that are as loud as they can be in all bands.
    assert log_mel.transform(log_mel.inverse_transform(np.zeros((1, 800)))).max() < 20
    with pytest.raises(ValueError, match="Values reach from .* to 33"):
        log_mel.transform([33 * sine(2000)])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_give_their_rows(frame):
    log_mel, waves = LogMelSpectrogram(n_frames=20), np.stack([sine(300), 0.3 * sine(700)])[:, :300]
    as_int16 = np.round(waves * 2**15).clip(max=2**15 - 1).astype(np.int16)
    for X in (waves, waves.astype(np.float32), as_int16):
        np.testing.assert_array_equal(log_mel.fit_transform(frame(X)), log_mel.transform(X))
    for dtype, division in ((np.int64, "x / 32768.0 if"), (np.uint16, r"\(x - 32768.0\) / 32768")):
        with pytest.raises(ValueError, match=f"dtype {dtype.__name__} at row 0.*{division}"):
            log_mel.transform(frame(np.abs(as_int16).astype(dtype)))
    with pytest.raises(ValueError, match="got NaN or infinity at row 1"):
        log_mel.fit(frame({"a": [0.5, None], "b": [0.5, 0.5]}))
    with pytest.raises(ValueError, match="dtype object at row 0. Convert it to floats"):
        log_mel.fit(frame({"a": ["0.5", "0.5"], "b": [0.5, 0.5]}))
    with pytest.raises(ValueError, match="at least one recording"):
        log_mel.fit(frame())


def test_nullable_numbers_of_pandas_and_columns_of_arrays():
    log_mel, waves = LogMelSpectrogram(n_frames=20), np.stack([sine(300), sine(700)])[:, :300]
    nullable, expected = pd.DataFrame(waves).astype("Float64"), log_mel.transform(waves)
    np.testing.assert_array_equal(log_mel.transform(nullable), expected)
    with pytest.raises(ValueError, match="dtype object at row 0"):
        log_mel.transform(nullable.mask(nullable > 0.5).astype(object))
    with pytest.raises(ValueError, match=r"x / 32768\.0"):
        log_mel.transform((nullable * 2**14).round().astype("Int16"))
    frame = pd.DataFrame({"wave": list(waves), "name": ["a", "b"]})
    np.testing.assert_array_equal(log_mel.transform(frame["wave"]), expected)
    with pytest.raises(ValueError, match="of a frame's column of arrays, pass the column"):
        log_mel.transform(frame[["wave"]])


def test_sound_has_the_frames_that_it_was_made_of():
    errors = {}
    for n_iter in (0, 4, 32):
        log_mel = LogMelSpectrogram(n_iter=n_iter)
        X = log_mel.transform(TONES)
        again = log_mel.transform(log_mel.inverse_transform(X))
        errors[n_iter] = np.sqrt(np.square(again - X)[X > -50].mean())
    assert errors[0] > errors[4] > errors[32]
    assert errors[32] < 2.5


def test_sound_does_not_depend_on_other_rows():
    log_mel = LogMelSpectrogram()
    X = log_mel.transform(TONES)
    together = log_mel.inverse_transform(X)
    assert together.dtype == np.float32
    np.testing.assert_allclose(log_mel.inverse_transform(X[3:4]), together[3:4], atol=1e-5)


def test_silence_is_silent():
    log_mel = LogMelSpectrogram(n_frames=20)
    X = log_mel.transform([np.zeros(0), np.zeros(300), np.zeros(9000, np.int16)])
    assert (X == -80).all()
    assert (log_mel.inverse_transform(X) == 0).all()
    assert (log_mel.inverse_transform(X - 5) == 0).all()


def test_powers_of_frequencies_are_nearly_the_best_positive_ones():
    filters = LogMelSpectrogram()._transforms()[1]
    wanted = np.random.default_rng(0).uniform(size=(1, 40, 3)) ** 4
    found = _spread(wanted, filters)
    assert (found >= 0).all()
    for t in range(3):
        least = nnls(filters, wanted[0, :, t])[1]
        reached = np.linalg.norm(filters @ found[0, :, t] - wanted[0, :, t])
        assert reached <= 1.3 * least + 0.02 * np.linalg.norm(wanted[0, :, t])


def test_a_pipeline_from_sound_to_sound():
    log_mel = LogMelSpectrogram(n_frames=30, n_mels=20, hop_length=128, n_iter=2)
    pipeline = make_pipeline(log_mel, ClusterBoosting(2, 4, random_state=0)).fit(TONES)
    assert pipeline.transform(TONES).shape == (12, 8)
    names = clone(log_mel).fit(TONES).get_feature_names_out()
    assert len(names) == 600
    assert names[-1] == "logmelspectrogram599"
    again = pickle.loads(pickle.dumps(log_mel))
    np.testing.assert_array_equal(again.transform(TONES), log_mel.transform(TONES))
    assert len(pipeline.inverse_transform(pipeline.transform(TONES))) == 12


@pytest.mark.parametrize(
    "narrow",
    [
        {"n_frames": np.uint8(64), "n_mels": np.uint8(40), "hop_length": np.uint8(80)},
        {"n_mels": np.int8(40), "frame_length": np.int16(256), "hop_length": np.int8(80)},
    ],
)
def test_parameters_may_be_narrow_integers(narrow):
    log_mel, expected = LogMelSpectrogram(n_iter=1, **narrow), LogMelSpectrogram(n_iter=1)
    X = expected.transform(TONES[:2])
    np.testing.assert_array_equal(log_mel.transform(TONES[:2]), X)
    np.testing.assert_array_equal(log_mel.inverse_transform(X), expected.inverse_transform(X))
    assert len(log_mel.fit(TONES).get_feature_names_out()) == 2560


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_frames": 1}, "'n_frames' parameter of LogMelSpectrogram must be"),
        ({"n_mels": 0}, "'n_mels' parameter of LogMelSpectrogram must be"),
        ({"sample_rate": 0}, "'sample_rate' parameter of LogMelSpectrogram must be"),
        ({"frame_length": 1}, "'frame_length' parameter of LogMelSpectrogram must be"),
        ({"hop_length": 0}, "'hop_length' parameter of LogMelSpectrogram must be"),
        ({"hop_length": 129}, "hop_length must be at most half of frame_length=256; got 129"),
        ({"floor": 0.0}, "'floor' parameter of LogMelSpectrogram must be"),
        ({"floor": -5000.0}, "'floor' parameter of LogMelSpectrogram must be"),
        ({"sample_rate": 1e-300}, "'sample_rate' parameter of LogMelSpectrogram must be"),
        ({"n_mels": 10**12}, "n_mels=1000000000000 bands must not be narrower"),
        ({"n_iter": -1}, "'n_iter' parameter of LogMelSpectrogram must be"),
        ({"n_mels": 200}, "n_mels=200 bands must not be narrower .*set fewer bands"),
        ({"n_frames": 4}, "n_frames=4 frames must be longer than frame_length=256 samples"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "transform", "inverse_transform"])
def test_parameters_that_do_not_do(params, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(LogMelSpectrogram(**params), method)(np.zeros((1, 2560)))


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("abc", TypeError, "X must be a sequence of recordings.*got str"),
        (3.0, TypeError, "X must be a sequence of recordings.*got float"),
        ([], ValueError, "X must hold at least one recording; got none"),
        (np.zeros(5), ValueError, r"got shape \(\) and dtype float64 at row 0.*pass \[X\]"),
        ([np.zeros(5), np.zeros((2, 5))], ValueError, r"got shape \(2, 5\) .*at row 1.*Mix"),
        ([np.zeros(5, complex)], ValueError, "got shape .* and dtype complex128 at row 0"),
        ([np.zeros(5, np.uint8)], ValueError, "got shape .* and dtype uint8 at row 0"),
        ([[0.0, np.nan]], ValueError, "must hold finite numbers; got NaN or infinity at row 0"),
        ([[0.0, None]], ValueError, r"got shape \(2,\) and dtype object at row 0. Convert it"),
        ([[Decimal(1)]], ValueError, r"got shape \(1,\) and dtype object at row 0. Convert it"),
        ([np.zeros(2, "M8[s]")], ValueError, r"dtype datetime64\[s\] at row 0. Convert it"),
        ([[True, False]], ValueError, "dtype bool at row 0. Convert it to floats"),
        ([[0.1], [[0.1, 0.2], [0.3]]], ValueError, "got list at row 1, which numpy cannot convert"),
        (np.array(1.0), TypeError, "X must be a sequence of recordings.*got ndarray"),
        (torch.tensor(1.0), TypeError, "X must be a sequence of recordings.*got Tensor"),
        (torch.zeros(2, 5, requires_grad=True), ValueError, "got Tensor at row 0.*detach"),
        (torch.zeros(2, 5).bfloat16(), ValueError, "got Tensor at row 0.*BFloat16"),
        ({"a": [0.5]}, TypeError, "X must be a sequence of recordings.*got dict"),
        ({0.5}, TypeError, "X must be a sequence of recordings.*got set"),
        (np.ma.array([[0.5, 0.5]], mask=[[0, 1]]), ValueError, "no masked values.*at row 0"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "transform"])
def test_what_is_no_sound(X, error, message, method):
    with pytest.raises(error, match=message):
        getattr(LogMelSpectrogram(), method)(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((2, 2559)), "X must have n_frames . n_mels = 2560 columns; got 2559"),
        (np.zeros(2560), "Expected 2D array"),
        (np.full((2, 2560), np.nan), "X contains NaN"),
        (np.full((2, 2560), 800.0), "X must hold decibels of at most 100; got 800. Pass what"),
        (np.zeros((2, 2560), "M8[s]"), "X must hold booleans, integers or floats; got dtype datet"),
    ],
)
def test_what_are_no_frames(X, message):
    with pytest.raises(ValueError, match=message):
        LogMelSpectrogram().inverse_transform(X)
