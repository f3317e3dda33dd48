"""What the commands do. Each yields the lines that it has to say."""

import math
import os

from .. import codec
from .._base import CodeTransformer
from .._cluster_boosting import ClusterBoosting
from .._vqdraw import VQDRAW
from .._warn import warn
from ..io import load
from ..refiners import ConvRefiner
from ..streams.container import MAGIC
from . import rows
from .rows import check_target

# Rows whose error is told after a fit, its seconds if nothing is said, and steps that are too few.
_JUDGED, _SECONDS, _FEW_STEPS = 2_000, 300, 50


def fit(arguments):
    """Learn a model and write it."""
    _check_target(arguments, rows=False)
    X, image_shape = rows.read(arguments.data, arguments.key)
    image_shape = arguments.image_shape or image_shape
    size = {"n_stages": arguments.stages, "n_options": arguments.options}
    if arguments.estimator == "vqdraw":
        model = VQDRAW(
            **size,
            refiner="auto" if image_shape is None else _refiner(image_shape),
            max_steps=arguments.steps,
            max_time=arguments.time or (None if arguments.steps else _SECONDS),
            random_state=arguments.seed,
            verbose=not arguments.quiet,
        )
    else:
        model = ClusterBoosting(**size, random_state=arguments.seed, verbose=not arguments.quiet)
    model.fit(X)
    model.save(arguments.output)
    if getattr(model, "n_steps_", _FEW_STEPS) < _FEW_STEPS:
        warn(
            f"only {model.n_steps_} steps were made; a larger --time, or smaller rows, are better."
        )
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
    X, _ = rows.read(arguments.data, arguments.key)
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
    image_shape = _image_shape(model, arguments.image_shape)
    how = {"n_stages": arguments.stages, "allow_truncated": arguments.allow_truncated}
    if target.suffix.lower() == ".npy":
        how |= {"row_shape": image_shape, "verbose": not arguments.quiet}
        codec.decompress_file(model, arguments.file, target, **how)
    else:
        X = codec.decompress(model, arguments.file, **how)
        rows.write(X, target, image_shape, _white(model), arguments.quiet)
    yield f"{arguments.output}: {codec.inspect(arguments.file).n_samples:,} rows"


def sample(arguments):
    """Write new rows."""
    target = _check_target(arguments, rows=True)
    model = _model(arguments.model)
    image_shape = _image_shape(model, arguments.image_shape)
    X = model.sample(arguments.rows, random_state=arguments.seed)
    rows.write(X, target, image_shape, _white(model), arguments.quiet)
    yield f"{arguments.output}: {len(X):,} rows"


def info(arguments):
    """Tell what a file is."""
    with open(arguments.file, "rb") as file:
        is_stream = file.read(len(MAGIC)) == MAGIC
    if is_stream:
        about = codec.inspect(arguments.file)
        about.bits_per_row = f"{about.bits_per_row:.2f}"
        about.problem = about.problem or "none"
        facts = {"kind": "compressed rows", **about}
    else:
        model = _model(arguments.file)
        facts = {"kind": f"model, {model}", "codes": _about_codes(model)}
        facts |= {"n_features": model.n_features_in_, "fingerprint": model.fingerprint()}
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


def _white(model):
    """Return which number is white in images: 255 if the model has seen bytes, else 1."""
    return 255 if model.mean_.max() > 1 else 1


def _about_codes(model):
    n_stages, n_options = model.code_usage_.shape
    n_bits = n_stages * (n_options - 1).bit_length()
    return f"{n_stages} stages of {n_options} options, {n_bits} bits a row"


def _image_shape(model, wanted):
    """Return the shape of rows: the one that is wanted, or that of what built the network."""
    spec = getattr(model, "refiner_", None) or getattr(model, "autoencoder_", None)
    shape = wanted or getattr(spec, "image_shape", None)
    if shape is not None and math.prod(shape) != model.n_features_in_:
        raise ValueError(f"--image-shape must have the {model.n_features_in_} numbers of a row.")
    return shape
