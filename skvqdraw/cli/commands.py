"""What the commands do. Each yields the lines that it has to say."""

import os

from .. import codec
from .._cluster_boosting import ClusterBoosting
from .._vqdraw import VQDRAW
from ..io import load
from ..pretrained import MODELS, load_pretrained
from ..refiners import ConvRefiner
from ..streams.container import MAGIC
from . import rows

# Rows whose error is told after a fit.
_JUDGED = 2_000


def fit(arguments):
    """Learn a model and write it."""
    rows.check_target(arguments.output, arguments.force, rows=False)
    X, image_shape = rows.read(arguments.data, arguments.key)
    image_shape = arguments.image_shape or image_shape
    size = {"n_stages": arguments.stages, "n_options": arguments.options}
    if arguments.estimator == "vqdraw":
        model = VQDRAW(
            **size,
            refiner="auto" if image_shape is None else _refiner(image_shape),
            max_steps=None,
            max_time=arguments.time,
            random_state=arguments.seed,
            verbose=not arguments.quiet,
        )
    else:
        model = ClusterBoosting(**size, random_state=arguments.seed, verbose=not arguments.quiet)
    model.fit(X)
    model.save(arguments.output)
    judged = X[:_JUDGED]
    yield f"{arguments.output}: {_about_codes(model)}"
    yield f"loss of the first {len(judged):,} rows: {-model.score(judged):.4g}"


def compress(arguments):
    """Write rows as codes."""
    rows.check_target(arguments.output, arguments.force, rows=False)
    model = _model(arguments.model)
    if arguments.beam is not None:
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
        f"{about.bits_per_row:.1f} bits a row; {X.nbytes / about.n_bytes:,.1f} times smaller"
    )


def decompress(arguments):
    """Write the rows that codes tell."""
    rows.check_target(arguments.output, arguments.force, rows=True)
    model = _model(arguments.model)
    image_shape = _image_shape(model, arguments.image_shape)
    how = {"n_stages": arguments.stages, "allow_truncated": arguments.allow_truncated}
    if arguments.output.endswith(".npy"):
        how |= {"row_shape": image_shape, "verbose": not arguments.quiet}
        codec.decompress_file(model, arguments.file, arguments.output, **how)
    else:
        X = codec.decompress(model, arguments.file, **how)
        rows.write(X, arguments.output, image_shape, arguments.quiet)
    yield f"{arguments.output}: {codec.inspect(arguments.file).n_samples:,} rows"


def sample(arguments):
    """Write new rows."""
    rows.check_target(arguments.output, arguments.force, rows=True)
    model = _model(arguments.model)
    image_shape = _image_shape(model, arguments.image_shape)
    X = model.sample(arguments.rows, random_state=arguments.seed)
    rows.write(X, arguments.output, image_shape, arguments.quiet)
    yield f"{arguments.output}: {len(X):,} rows"


def info(arguments):
    """Tell what a file is."""
    with open(arguments.file, "rb") as file:
        is_stream = file.read(len(MAGIC)) == MAGIC
    if is_stream:
        about = codec.inspect(arguments.file)
        about.problem = about.problem or "none"
        facts = {"kind": "compressed rows", **about}
    else:
        model = load(arguments.file)
        facts = {"kind": f"model, {model}", "codes": _about_codes(model)}
        facts |= {"n_features": model.n_features_in_, "fingerprint": model.fingerprint()}
    for name, fact in facts.items():
        yield f"{name + ':':<16} {' '.join(str(fact).split())}"


def _refiner(image_shape):
    """Return a network for images of a size that it need not be told to be a multiple of."""
    H, W = image_shape[:2]
    return ConvRefiner(image_shape, downsampling=next(d for d in (4, 2, 1) if not (H % d or W % d)))


def _model(name):
    """Return the model of a file, or one that comes with the package."""
    return load_pretrained(name) if name in MODELS and not os.path.exists(name) else load(name)


def _about_codes(model):
    n_stages, n_options = model.code_usage_.shape
    n_bits = n_stages * (n_options - 1).bit_length()
    return f"{n_stages} stages of {n_options} options, {n_bits} bits a row"


def _image_shape(model, wanted):
    """Return the shape of rows: the one that is wanted, or that of the model's refiner."""
    return wanted or getattr(getattr(model, "refiner_", None), "image_shape", None)
