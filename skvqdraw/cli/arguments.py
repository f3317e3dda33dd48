"""What the command line understands."""

import argparse
import re

from .._version import __version__

_ROWS_READ = "an .npy file, an .npz file, or a folder of images of one size and kind"
_ROWS_WRITTEN = "an .npy file, an .npz file, or a folder of PNG images"
_EPILOG = """\
a first try:
  skvqdraw fit digits/ -o digits.safetensors --time 60
  skvqdraw compress digits/ -m digits.safetensors -o digits.skvq
  skvqdraw info digits.skvq
  skvqdraw decompress digits.skvq -m digits.safetensors -o decoded/

Keep the model: without it nothing can be decompressed. It is meant for many rows of
one kind: images of up to about 64 x 64 pixels, or vectors.
"""


def parsed(argv):
    """Return the arguments of a command line; wrong ones end the process with status 2."""
    parser = argparse.ArgumentParser(
        prog="skvqdraw",
        description="Learn short codes for rows of data, and store rows as such codes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"skvqdraw {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (_fit, _compress, _decompress, _sample, _info):
        add(commands)
    return parser.parse_args(argv)


def _fit(commands):
    command = _command(commands, "fit", "learn a model from rows")
    _data(command)
    _target(command, "MODEL", "the file to write, such as model.safetensors")
    command.add_argument("--stages", type=_positive, default=10, help="options a code has [10]")
    command.add_argument(
        "--options",
        type=_positive,
        default=64,
        help="what each is chosen from: 64 take 6 bits [64]",
    )
    command.add_argument(
        "--time", type=_seconds, help="seconds of training; longer is better [300]"
    )
    command.add_argument(
        "--steps", type=_positive, help="steps of training instead, for the same model each time"
    )
    _image_shape(command, "rows are images of this size (folders and arrays of images tell it)")
    command.add_argument(
        "--estimator",
        choices=["vqdraw", "cluster-boosting"],
        default="vqdraw",
        help="vqdraw for the smallest error, cluster-boosting for a fit in seconds [vqdraw]",
    )
    _seed(command)


def _compress(commands):
    command = _command(commands, "compress", "store rows as codes")
    _data(command)
    _model(command)
    _target(command, "FILE", "the file to write, such as rows.skvq")
    command.add_argument("--stages", type=_positive, help="options to keep of each code [all]")
    command.add_argument(
        "--max-error",
        type=float,
        help="end each code as soon as its loss, as fit tells it, is no larger",
    )
    command.add_argument(
        "--beam", type=_positive, help="hypotheses to follow: more find better codes, slowly [1]"
    )


def _decompress(commands):
    command = _command(commands, "decompress", "turn codes into rows again")
    command.add_argument("file", metavar="FILE", help="what compress wrote")
    _model(command)
    _rows_target(command)
    command.add_argument("--stages", type=_positive, help="options to decode of each code [all]")
    command.add_argument(
        "--allow-truncated",
        action="store_true",
        help="decode the stages that are whole where the end is missing or damaged",
    )


def _sample(commands):
    command = _command(commands, "sample", "make new rows, from codes drawn at random")
    _model(command)
    _rows_target(command)
    command.add_argument("-n", "--rows", type=_positive, default=16, help="how many [16]")
    _seed(command)


def _info(commands):
    command = _command(commands, "info", "tell what is in a model or in compressed rows")
    command.add_argument("file", metavar="FILE", help="what fit or compress wrote")


def _command(commands, name, summary):
    description = summary[0].upper() + summary[1:] + "."
    return commands.add_parser(name, help=summary, description=description)


def _data(command):
    command.add_argument("data", metavar="DATA", help=_ROWS_READ)
    command.add_argument("--key", help="which array of an .npz file [the only one, or X]")


def _model(command):
    command.add_argument("-m", "--model", required=True, help="the file that fit wrote")


def _target(command, metavar, text):
    command.add_argument("-o", "--output", metavar=metavar, required=True, help=text)
    command.add_argument("--force", action="store_true", help="replace what is there already")
    command.add_argument("--quiet", action="store_true", help="show no progress")


def _rows_target(command):
    _target(command, "ROWS", f"what to write: {_ROWS_WRITTEN}")
    _image_shape(command, "rows are images of this size [as those that the model was fitted on]")


def _image_shape(command, text):
    command.add_argument("--image-shape", type=_shape, metavar="HxW[xC]", help=text)


def _seed(command):
    command.add_argument("--seed", type=int, help="the same integer, the same draws")


def _positive(text):
    if not re.fullmatch(r"0*[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1; got {text}")
    return int(text)


def _seconds(text):
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0; got {text}")
    return seconds


def _shape(text):
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", text):
        raise argparse.ArgumentTypeError(f"must be like 28x28 or 32x32x3; got {text}")
    return tuple(map(int, text.split("x")))
