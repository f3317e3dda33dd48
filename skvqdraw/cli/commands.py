"""What the commands do. Each yields the lines that it has to say."""

import math
import os

import numpy as np

from .. import codec
from .._base import CodeTransformer, same_row_shape
from .._cluster_boosting import ClusterBoosting
from .._vqdraw import VQDRAW
from ..io import load
from ..refiners import ConvRefiner
from ..streams.container import MAGIC
from . import images, rows
from .rows import check_target

# Rows whose error is given after a fit, and seconds of a fit without --time and --steps.
_JUDGED, _SECONDS = 2_000, 300


def fit(arguments):
    """Learn a model and write it."""
    _check_target(arguments, rows=False)
    X, own_shape, lines = rows.read(arguments.data, arguments.key)
    yield from lines
    row_shape = _shape_to_fit(X, own_shape, arguments)
    size = {"n_stages": arguments.stages, "n_options": arguments.options}
    if arguments.estimator == "vqdraw":
        untimed = arguments.time is None and arguments.steps is None
        model = VQDRAW(
            **size,
            refiner="auto" if row_shape is None else _refiner(row_shape),
            max_steps=arguments.steps,
            max_time=_SECONDS if untimed else arguments.time,
            random_state=arguments.seed,
            verbose=not arguments.quiet,
        )
    else:
        model = ClusterBoosting(**size, random_state=arguments.seed, verbose=not arguments.quiet)
    model.fit(X)
    if row_shape is not None:
        model._keep_row_shape(row_shape)
    model.save(arguments.output)
    judged = X[:_JUDGED]
    yield f"{arguments.output}: {_about_codes(model)}"
    yield f"loss of the first {len(judged):,} rows: {-model.score(judged):.4g}"


def compress(arguments):
    """Write rows as codes."""
    _check_target(arguments, rows=False)
    model = _model(arguments.model)
    if arguments.beam is not None:
        if not hasattr(model, "beam_size"):
            raise ValueError(f"--beam must be left out: codes of {type(model).__name__} have none.")
        model.set_params(beam_size=arguments.beam)
    X, own_shape, lines = rows.read(arguments.data, arguments.key)
    yield from lines
    if own_shape is not None:
        model._check_row_shape(own_shape, arguments.data)
    codec.compress_file(
        model,
        X,
        arguments.output,
        n_stages=arguments.stages,
        max_error=arguments.max_error,
        verbose=not arguments.quiet,
    )
    about = codec.inspect(arguments.output)
    yield (
        f"{arguments.output}: {about.n_bytes:,} bytes for {about.n_samples:,} rows, "
        f"{about.bits_per_row:.1f} bits a row; {X.nbytes / about.n_bytes:,.1f} times smaller than "
        f"their numbers, without the model of {os.path.getsize(arguments.model):,} bytes"
    )


def decompress(arguments):
    """Write the rows that codes tell."""
    target = _check_target(arguments, rows=True)
    model = _model(arguments.model)
    row_shape = _shape_to_write(model, arguments.image_shape, target)
    how = {"n_stages": arguments.stages, "allow_truncated": arguments.allow_truncated}
    if target.suffix.lower() == ".npy":
        how |= {"row_shape": row_shape, "verbose": not arguments.quiet}
        codec.decompress_file(model, arguments.file, target, **how)
    else:
        X = codec.decompress(model, arguments.file, **how)
        rows.write(X, target, row_shape, *_black_and_white(model), arguments.quiet)
    yield f"{arguments.output}: {codec.inspect(arguments.file).n_samples:,} rows"


def sample(arguments):
    """Write new rows."""
    target = _check_target(arguments, rows=True)
    model = _model(arguments.model)
    row_shape = _shape_to_write(model, arguments.image_shape, target)
    X = model.sample(arguments.rows, random_state=arguments.seed)
    rows.write(X, target, row_shape, *_black_and_white(model), arguments.quiet)
    yield f"{arguments.output}: {len(X):,} rows"


def info(arguments):
    """Tell what a file is."""
    with open(arguments.file, "rb") as file:
        start = file.read(len(MAGIC))
    if not start:
        raise ValueError(f"{arguments.file} is empty: neither a model nor compressed rows.")
    if start == MAGIC:
        about = codec.inspect(arguments.file)
        about.bits_per_row = f"{about.bits_per_row:.2f}"
        about.problem = about.problem or "none"
        facts = {"kind": "compressed rows", **about}
    else:
        model = _model(arguments.file)
        facts = {"kind": f"model, {model}", "codes": _about_codes(model)}
        facts |= {"n_features": model.n_features_in_, "fingerprint": model.fingerprint()}
        for name in ("row_shape", "data_dtype", "data_range"):
            facts[name] = getattr(model, f"{name}_", None) or "unknown"
    for name, fact in facts.items():
        yield f"{name + ':':<16} {' '.join(str(fact).split())}"


def _refiner(image_shape):
    """Return a network for images of a size that it need not be told to be a multiple of."""
    H, W = image_shape[:2]
    return ConvRefiner(image_shape, downsampling=next(d for d in (4, 2, 1) if not (H % d or W % d)))


def _check_target(arguments, *, rows):
    """Refuse a place to write to, and to write over what is read."""
    inputs = [getattr(arguments, name, None) for name in ("data", "file", "model")]
    return check_target(arguments.output, arguments.force, rows=rows, inputs=filter(None, inputs))


def _model(path):
    """Return the model of a file."""
    model = load(path)
    if not isinstance(model, CodeTransformer):
        raise ValueError(f"{path} holds a {type(model).__name__}, which codes no rows.")
    return model


def _black_and_white(model):
    """Return which numbers are black and white in images, by the rows that a model is of."""
    dtype, data_range = (getattr(model, name, None) for name in ("data_dtype_", "data_range_"))
    if dtype is None or data_range is None:  # the file of an older version leaves it to a guess
        return 0, 255 if model.mean_.max() > 1 else 1
    if dtype.startswith("uint"):
        return 0, np.iinfo(dtype).max
    least, largest = data_range
    usual = next((white for white in (1, 255) if least >= 0 and largest <= white), None)
    if usual is not None:
        return 0, usual
    return least, largest if largest > least else least + 1


def _about_codes(model):
    n_stages, n_options = model.code_usage_.shape
    n_bits = n_stages * (n_options - 1).bit_length()
    return f"{n_stages} stages of {n_options} options, {n_bits} bits a row"


def _shape_to_fit(X, own, arguments):
    """Return the shape of training rows: that of their axes, or the one that is wanted, or None."""
    wanted = arguments.image_shape
    if wanted is not None and math.prod(wanted) != X.shape[1]:
        raise ValueError(
            f"--image-shape must have the {X.shape[1]} numbers of a row; got {wanted}."
        )
    if None not in (wanted, own) and not same_row_shape(wanted, own):
        raise ValueError(
            f"--image-shape must be {own}, the shape of the rows in {arguments.data}; got "
            f"{wanted}. Leave it out."
        )
    shape = own if wanted is None else wanted
    if shape is not None and len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] > 4:
        raise ValueError(
            f"images must have their channels last; their shape {shape} has them first. Move the "
            "channels last: numpy.moveaxis(X, 1, -1). Flatten rows that are no images."
        )
    return shape


def _shape_to_write(model, wanted, target):
    """Return the shape of rows to write: the one that is wanted, or that of the training rows."""
    if wanted is not None:
        model._check_row_shape(wanted, "--image-shape")
    shape = model.row_shape_ if wanted is None else wanted
    if rows.is_for_images(target):
        images.check_shape(shape)
    return shape
