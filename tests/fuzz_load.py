"""Saved models, mutated: `load` must refuse each with a FormatError, or return a whole model.

    python tests/fuzz_load.py --cases 200000      # --start to go on from a case

A case is made from its number alone. Half of them change bytes anywhere, and must be refused. The
others change what a file says, or its arrays, and have its hash put right so that the checks after
it are reached: these must be refused or be a model that codes. While it refuses, `load` must not
take more memory than twice the file and 64 MiB, and nothing may take long.
"""

import argparse
import copy
import faulthandler
import hashlib
import json
import re
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.base import clone

import skvqdraw
from skvqdraw.exceptions import FormatError
from skvqdraw.priors import AutoregressivePrior, MarkovPrior
from skvqdraw.priors._base import Prior
from skvqdraw.refiners import ConvRefiner, MLPRefiner

MIB = 2**20
MOST_SECONDS = 2.0  # of processor time, for one case
NO_HASH = b"0" * 64


# ---- Models to start from -----------------------------------------------------------------------


def originals(folder):
    """Return rows, and small models that were saved after a fit of them, as bytes."""
    X = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
    common = {"max_steps": 2, "batch_size": 8, "random_state": 0, "device": "cpu"}
    mlp = {"hidden_size": 4, "n_blocks": 1, "basis_size": 2, "stages_per_round": 2}
    conv = {"n_channels": 4, "n_blocks": 1, "downsampling": 2, "basis_size": 2}
    models = [
        skvqdraw.VQDRAW(4, 4, refiner=MLPRefiner(**mlp), **common),
        skvqdraw.VQDRAW(3, 2, refiner=ConvRefiner((4, 4), **conv), **common),
        skvqdraw.ClusterBoosting(3, 4, shrinkage="auto", random_state=0),
        skvqdraw.ClusterBoosting(2, 4, random_state=0),
    ]
    models = [model.fit(X) for model in models]
    models[3].feature_names_in_ = np.array([f"ä{j}" for j in range(16)], dtype=object)
    codes, y = models[2].encode(X), np.arange(40) % 3
    models += [
        MarkovPrior().fit(codes, y),
        AutoregressivePrior(hidden_size=4, n_blocks=1, **common).fit(codes, y.astype(str)),
    ]
    saved = []
    for model in models:
        model.save(folder / "model")
        saved.append((folder / "model").read_bytes())
    return X, saved


# ---- Files, taken apart and put together --------------------------------------------------------


def take_apart(data):
    """Return what the header says of arrays, the text and the bytes of the arrays."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    return header, json.loads(header.pop("__metadata__")["skvqdraw"]), data[end:]


def put_together(header, text, body):
    """Return a file with the right hash, if the text still has a place for it."""
    if isinstance(text, dict) and isinstance(text.get("sha256"), str):
        text = {**text, "sha256": NO_HASH.decode()}
    metadata = {"skvqdraw": text if isinstance(text, str) else json.dumps(text)}
    return with_hash(json.dumps({"__metadata__": metadata, **header}).encode(), body)


def with_hash(header, body):
    data = len(header).to_bytes(8, "little") + header + body
    return data.replace(NO_HASH, hashlib.sha256(data).hexdigest().encode(), 1)


# ---- Bytes anywhere -----------------------------------------------------------------------------


def some_slice(rng, data, longest=64):
    start = int(rng.integers(len(data) + 1))
    return slice(start, start + int(rng.integers(1, longest)))


def flip_bits(rng, data):
    data = bytearray(data)
    for position in rng.integers(len(data), size=rng.integers(1, 9)):
        data[position] ^= 1 << int(rng.integers(8))
    return bytes(data)


def overwrite(rng, data):
    where = some_slice(rng, data)
    return data[: where.start] + rng.bytes(where.stop - where.start) + data[where.stop :]


def zero(rng, data):
    where = some_slice(rng, data, 1000)
    return data[: where.start] + bytes(len(data[where])) + data[where.stop :]


def cut(rng, data):
    return data[: int(rng.integers(len(data)))]


def add(rng, data):
    return data + rng.bytes(int(rng.integers(1, 2000)))


def drop(rng, data):
    where = some_slice(rng, data)
    return data[: where.start] + data[where.stop :]


def insert(rng, data):
    where = some_slice(rng, data)
    return data[: where.start] + rng.bytes(where.stop - where.start) + data[where.start :]


def repeat(rng, data):
    where = some_slice(rng, data, 1000)
    return data[: where.stop] + data[where.start :]


def lie_of_the_length(rng, data):
    length = int.from_bytes(data[:8], "little")
    lies = [0, 1, length - 1, length + 1, len(data), len(data) - 8, MIB, MIB + 1, 2**31, 2**63]
    lies += [2**64 - 1, int(rng.integers(2**62)), int(rng.integers(len(data)))]
    return int(rng.choice(np.array(lies, dtype=object))).to_bytes(8, "little") + data[8:]


def nothing_of_ours(rng, data):
    return rng.bytes(int(rng.integers(200)))


ANYWHERE = [
    *(flip_bits, flip_bits, flip_bits, overwrite, zero, cut, cut, add),
    *(drop, insert, repeat, lie_of_the_length, nothing_of_ours),
]


# ---- What a file says ---------------------------------------------------------------------------


def chain(n):
    """Return a refiner in a refiner, and so on."""
    value = [4, 4]
    for _ in range(n):
        value = {"class": "ConvRefiner", "params": {"image_shape": value}}
    return value


VALUES = [
    *(0, 1, -1, 2, 3, 7, 255, 65_535, 65_536, 65_537, 2**31, 2**32, 2**63, 2**64, 10**9, 10**30),
    *(10**400, 0.5, -0.5, 1.0, 1e-300, 1e300, 3.7e38, float("nan"), float("inf"), True, False),
    *(None, "", "auto", "a", "ä\0\n\ud800", "x" * 10_000, [], [1], [[]], [8, 8], [4, 4, 1]),
    *([10**9, 10**9], [-1, 4], {}, {"class": "MLPRefiner", "params": {}}, "VQDRAW", "F64", "U8"),
    *("MLPRefiner", "PaperRefiner", "ClusterBoosting", "os.system", "log_loss", "ordinal", "bf16"),
    {"class": "PaperRefiner", "params": {"architecture": "svhn", "segment_length": 1}},
    {"class": "PaperRefiner", "params": {"image_shape": [4, 4]}},
    {"class": "ConvRefiner", "params": {"image_shape": [4, 4], "downsampling": 1}},
    {"class": "MLPRefiner", "params": {"hidden_size": 10**9, "n_blocks": 10**9}},
    {"class": "MLPRefiner", "params": {"n_blocks": 10**9}},
    *(chain(4), chain(12), chain(100), json.loads("[" * 300 + "]" * 300)),
]
KEYS = ["class", "params", "n_stages", "refiner_", "codebooks_", "network.table", "loss_curve_", ""]


def nodes(tree, found):
    """Collect (container, key) of everything in JSON."""
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], (dict, list)):
            nodes(tree[key], found)
    return found


def pick(rng, values):
    return values[int(rng.integers(len(values)))]


def change_tree(rng, tree):
    """Change something in JSON, in place."""
    container, key = pick(rng, nodes(tree, []))
    kind = int(rng.integers(7))
    value = container[key]
    if kind == 0:
        container.pop(key)
    elif kind == 1 and isinstance(container, dict):
        container[pick(rng, KEYS)] = container.pop(key)
    elif kind == 2 and isinstance(container, list):
        container.insert(key, value)
    elif kind == 3:
        other, other_key = pick(rng, nodes(tree, []))
        container[key] = json.loads(json.dumps(other[other_key]))
    elif kind == 4 and type(value) in (int, float):
        container[key] = value + pick(rng, [-1, 1, 2, 0.5]) * pick(rng, [1, 1, 10, 2**20])
    elif kind == 5 and isinstance(container, dict):
        container[pick(rng, KEYS)] = copy.deepcopy(pick(rng, VALUES))
    else:  # a copy: what is put in may be changed next
        container[key] = copy.deepcopy(pick(rng, VALUES))


def lie_in_the_text(rng, data):
    header, text, body = take_apart(data)
    for _ in range(int(rng.integers(1, 4))):
        change_tree(rng, text)
    return put_together(header, text, body)


def lie_of_the_model(rng, data):
    """Change parameters and learned attributes only."""
    header, text, body = take_apart(data)
    for _ in range(int(rng.integers(1, 3))):
        change_tree(rng, text[pick(rng, ["params", "fitted"])])
    return put_together(header, text, body)


def lie_in_the_header(rng, data):
    header, text, body = take_apart(data)
    for _ in range(int(rng.integers(1, 4))):
        change_tree(rng, header)
    return put_together(header, text, body)


def misspell(rng, data):
    """Change characters of the header, of JSON or not."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = bytearray(re.sub(rb"[0-9a-f]{64}", NO_HASH, data[8:end]))
    for position in rng.integers(len(header), size=rng.integers(1, 4)):
        header[position] = pick(rng, b'0123456789-+.eE{}[]",:\\ntfu axF')
    return with_hash(bytes(header), data[end:])


def resize(rng, data):
    """Change the shape of an array and its bytes along with it."""
    header, text, body = take_apart(data)
    name = pick(rng, sorted(header))
    shape = header[name]["shape"]
    if shape:
        axis = int(rng.integers(len(shape)))
        shape[axis] = pick(rng, [0, 1, 2, shape[axis] + 1, max(shape[axis] - 1, 0), 1000, 70_000])
    start, stop = header[name]["data_offsets"]
    itemsize = int(re.search(r"\d+", header[name]["dtype"])[0]) // 8
    size = min(int(np.prod(shape, dtype=object)) * itemsize, 4 * MIB)
    body = body[:start] + (body[start:stop] + bytes(size))[:size] + body[stop:]
    for other in header.values():
        if other["data_offsets"][0] >= stop and other is not header[name]:
            other["data_offsets"] = [o + size - stop + start for o in other["data_offsets"]]
    header[name]["data_offsets"] = [start, start + size]
    if rng.random() < 0.5:
        text["fitted"]["n_features_in_"] = pick(rng, shape or [1])
    return put_together(header, text, body)


def change_arrays(rng, data):
    header, text, body = take_apart(data)
    body = bytearray(body)
    for _ in range(int(rng.integers(1, 4))):
        position = int(rng.integers(len(body) // 4)) * 4
        numbers = [np.nan, np.inf, 3e38, 1e-40, -1, 2]
        kind = pick(rng, ["<f4", "<f8"])
        body[position : position + 8] = np.array(pick(rng, numbers), kind).tobytes()
    return put_together(header, text, bytes(body[: len(data)]))


def mix(rng, data):
    """Say of a model what another says."""
    header, text, body = take_apart(data)
    other_header, other_text, other_body = take_apart(pick(rng, ORIGINALS))
    kind = int(rng.integers(4))
    if kind == 0:
        return put_together(header, other_text, body)
    if kind == 1:
        return put_together(other_header, text, other_body)
    part = pick(rng, ["params", "fitted", "class"])
    return put_together(header, {**text, part: other_text[part]}, body)


def fatten(rng, data):
    """Fill a header of up to 1 MiB with what takes the most memory, somewhere."""
    header, text, body = take_apart(data)
    room = MIB - len(json.dumps(json.dumps(text))) - len(json.dumps(header)) - 100
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    kind = int(rng.integers(5))
    if kind == 0:
        header.update({f"network.{i}": empty for i in range(room // 70)})
    elif kind == 1:
        text["params"]["image_shape"] = [[]] * (room // 4)
    elif kind == 2:
        text["fitted"]["loss_curve_"] = [{}] * (room // 4)
    elif kind == 3:
        text["params"].update({f"p{i}": i for i in range(room // 20)})
    else:
        depth = int(rng.integers(1, 2000))
        text = json.dumps(text).replace('"auto"', "[" * depth + "]" * depth, 1)
        text = re.sub("[0-9a-f]{64}", NO_HASH.decode(), text)
    return put_together(header, text, body)


def more_stages(rng, data):
    """Give a model with a refiner stages that its file has bytes for, and a spec to match.

    Of a prior only say that it has them.
    """
    header, text, body = take_apart(data)
    n_stages = pick(rng, [1, 5, 100, 5000, 65_536, 65_537, 200_000])
    if "code_usage_" not in header:
        text["fitted"]["n_stages_"] = n_stages
        return put_together(header, text, body)
    header["code_usage_"]["shape"] = [n_stages, 2]
    start, stop = header["code_usage_"]["data_offsets"]
    size = n_stages * 2 * 8
    body = body[:start] + bytes(size) + body[stop:]
    for place in header.values():
        if place["data_offsets"][0] >= stop:
            place["data_offsets"] = [o + size - stop + start for o in place["data_offsets"]]
    header["code_usage_"]["data_offsets"] = [start, start + size]
    spec = text["fitted"].get("refiner_", {"params": {}})["params"]
    for name in ("stages_per_round", "rounds_per_trunk", "n_blocks"):
        spec[name] = pick(rng, [1, 1, 3, 10**9])
    return put_together(header, text, body)


SAID = [
    *(lie_in_the_text, lie_of_the_model, lie_of_the_model, lie_in_the_header, lie_in_the_header),
    *(misspell, misspell, resize, resize, change_arrays, mix),
]
RARE = [fatten, more_stages]
ORIGINALS = []


# ---- One case, and many -------------------------------------------------------------------------


class Memory:
    """The most memory that this process has held, where Linux tells."""

    status = Path("/proc/self/status")

    def _read(self, name):
        return int(re.search(rf"{name}:\s+(\d+) kB", self.status.read_text())[1]) * 1024

    def start(self):
        if self.status.exists():
            Path("/proc/self/clear_refs").write_text("5")
            self.before = self._read("VmRSS")

    def growth(self):
        return self._read("VmHWM") - self.before if self.status.exists() else 0


def mutated(number, saved):
    """Return the file of a case, its mutation and whether it must be refused."""
    rng = np.random.default_rng(number)
    data = pick(rng, saved)
    kind = rng.random()
    anywhere = kind < 0.5
    mutation = pick(rng, ANYWHERE if anywhere else SAID if kind < 0.98 else RARE)
    changed = mutation(rng, data)
    return changed, mutation.__name__, anywhere and changed != data


def run_case(number, X, saved, path, memory):
    """Return what came of a case; raise AssertionError if it is not as it should be."""
    changed, mutation, must_be_refused = mutated(number, saved)
    path.write_bytes(changed)
    memory.start()
    started = time.process_time()
    try:
        model = skvqdraw.load(path)
        outcome = "loaded"
    except FormatError as error:
        growth = memory.growth()
        assert growth <= 2 * len(changed) + 64 * MIB, f"{growth} bytes for {len(changed)}"
        outcome = str(error).partition(" reads: ")[2]
        assert outcome, "a message that does not say what is wrong"
    else:
        assert not must_be_refused, "changed bytes were not noticed"
        check(model, X)
        model.save(path)
        skvqdraw.load(path)
    seconds = time.process_time() - started
    assert seconds < MOST_SECONDS, f"{seconds} s"
    return mutation, outcome


def check(model, X):
    """Assert that a model prints, copies and codes, once parameters that may be valid and absurd are set."""
    if isinstance(model, Prior):
        check_prior(model)
        return
    if isinstance(model, skvqdraw.VQDRAW):
        model.set_params(beam_size=1, round_beam_size=2, device="cpu", precision="float32")
    else:
        model.set_params(beam_size=1, loss="squared_error")
    assert repr(clone(model)) == repr(model)
    n_stages, n_options = model.code_usage_.shape
    rows = np.resize(X, (4, model.n_features_in_))
    # Numbers may be finite and still too large; rows have no names.
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        codes = model.encode(rows)
        assert codes.shape == (4, n_stages)
        assert codes.dtype == np.min_scalar_type(n_options - 1)
        assert codes.max() < n_options
        assert model.decode(codes).shape == rows.shape


def check_prior(prior):
    """Assert that a prior prints, copies, draws and scores."""
    if isinstance(prior, AutoregressivePrior):
        prior.set_params(device="cpu")
    assert repr(clone(prior)) == repr(prior)
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        codes = prior.sample(4, random_state=0)
        assert codes.shape == (4, prior.n_stages_)
        assert codes.max() < prior.n_options_
        assert prior.bits(codes).shape == (4,)


def tried(numbers, case, log):
    """Try cases, each with a time that it may take; return how often what came of them."""
    faulthandler.enable()
    outcomes = Counter()
    for number in numbers:
        faulthandler.dump_traceback_later(120, exit=True)
        try:
            outcomes[case(number)] += 1
        except BaseException as error:
            raise AssertionError(f"case {number}: {type(error).__name__}: {error}") from error
        finally:
            faulthandler.cancel_dump_traceback_later()
        if number % 10_000 == 9_999:
            log(f"up to case {number}: {outcomes.total()} cases, all as they should be")
    return outcomes


def run(numbers, folder, log=print):
    """Run cases; return how often what came of them."""
    X, saved = originals(folder)
    ORIGINALS[:] = saved
    memory = Memory()
    return tried(numbers, lambda n: run_case(n, X, saved, folder / "model", memory), log)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--start", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(
            range(arguments.start, arguments.start + arguments.cases),
            Path(folder),
            lambda line: print(line, flush=True),
        )
    loaded = sum(n for (_, outcome), n in outcomes.items() if outcome == "loaded")
    print(f"{outcomes.total()} cases: {loaded} loaded, the others refused. By mutation:")
    for mutation in sorted({mutation for mutation, _ in outcomes}):
        of = {outcome: n for (m, outcome), n in outcomes.items() if m == mutation}
        print(f"  {mutation}: {sum(of.values())}, {of.get('loaded', 0)} loaded")
    reasons = Counter()
    for (_, outcome), n in outcomes.items():
        reasons[re.sub(r"[\d.]+|'[^']*'|\[.*\]", "*", outcome)[:60]] += n
    print(f"{len(reasons)} reasons, of which the most frequent:")
    for reason, n in reasons.most_common(40):
        print(f"  {n:7} {reason}")
