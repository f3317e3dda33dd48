"""Compressed rows, mutated: changed bytes must be refused, and lies give codes or are refused.

    python tests/fuzz_streams.py --cases 100000      # --start to go on from a case

A case is made from its number alone. Half of them change bytes anywhere: these must be refused with
a FormatError, and where the end may be missing, what is decoded must be the first stages of what
was written, to the last code. The others change what a stream says, or what its sections hold, and
have all checksums put right: these must be refused or give codes that there may be. Nothing may
take more memory than twice the stream and 64 MiB while it is refused, and nothing may take long.
"""

import argparse
import struct
import time
import warnings
import zlib

import numpy as np
from fuzz_load import ANYWHERE, MIB, Memory, lie_of_the_length, pick, tried

from skvqdraw import ClusterBoosting
from skvqdraw.codec import compress, decode_codes, decompress, inspect
from skvqdraw.exceptions import FormatError
from skvqdraw.priors import MarginalPrior, MarkovPrior

MOST_SECONDS = 2.0  # of processor time, for one case
HEAD = 72  # bytes before the first checksum
N_STAGES, N_OPTIONS = 4, 6
BYTES = [mutation for mutation in ANYWHERE if mutation is not lie_of_the_length]


def originals():
    """Return a model, and streams of each kind with their codes and lengths."""
    X = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    model = ClusterBoosting(N_STAGES, N_OPTIONS, random_state=0).fit(X)
    codes = model.encode(X)
    priors = [None, MarginalPrior(N_OPTIONS), MarkovPrior(n_options=N_OPTIONS)]
    priors.append(MarkovPrior(2, n_options=N_OPTIONS))
    saved = []
    for prior in priors:
        if prior is not None:
            prior.fit(codes)
        for max_error in (None, 0.3):
            data = compress(model, X, prior=prior, max_error=max_error)
            saved.append((data, *decode_codes(data)))
    return model, saved


# ---- Streams, taken apart and put together ------------------------------------------------------


def take_apart(data):
    """Return the head and the contents of the sections."""
    head, position, sections = bytearray(data[:HEAD]), HEAD + 4, []
    while position < len(data):
        length = int.from_bytes(data[position : position + 8], "little")
        sections.append(bytearray(data[position + 8 : position + 8 + length]))
        position += 12 + length
    return head, sections


def put_together(head, sections):
    """Return a stream whose checksums are right."""
    checksum = zlib.crc32(head)
    data = bytes(head) + struct.pack("<I", checksum)
    for section in sections:
        length = struct.pack("<Q", len(section))
        checksum = zlib.crc32(section, zlib.crc32(length, checksum))
        data += length + bytes(section) + struct.pack("<I", checksum)
    return data


NUMBERS = [0, 1, 2, 3, 5, 6, 7, 8, 255, 256, 65_535, 65_536, 65_537, 2**24, 2**24 + 1, 2**31]
LONG = [*NUMBERS, 199, 200, 201, 65_600, 10**6, 10**9, 2**32, 2**40, 2**40 + 1, 2**63, 2**64 - 1]


def lie_in_the_head(rng, head, sections):
    """Change a number, or any byte after the magic."""
    kind = int(rng.integers(5))
    if kind == 0:
        head[int(rng.integers(8, 40))] = int(rng.integers(256))
    elif kind < 3:
        struct.pack_into("<I", head, pick(rng, [16, 20]), pick(rng, NUMBERS) % 2**32)
    else:
        struct.pack_into("<Q", head, pick(rng, [24, 24, 32]), pick(rng, LONG))


def change_a_section(rng, head, sections):
    """Change, cut or stretch what a section holds."""
    i = int(rng.integers(len(sections)))
    sections[i] = bytearray(pick(rng, BYTES)(rng, bytes(sections[i]) or b"\0"))


def exchange_sections(rng, head, sections):
    i, j = rng.integers(len(sections), size=2)
    sections[i], sections[j] = sections[j], sections[i]


def leave_out_or_repeat(rng, head, sections):
    i = int(rng.integers(len(sections)))
    sections[i : i + 1] = [sections[i]] * pick(rng, [0, 2])


def other_counts(rng, head, sections):
    """Give a prior, if there is one, counts of its own, perhaps far too large ones or too many."""
    size = pick(rng, [1, 2, 4, 8, 3])
    n = pick(rng, [24, 144, 864, 863, 10**5, 10**5, 10**6, 2**23])
    counts = np.full(n, pick(rng, [0, 1, 200, 255, 2**38 - 1, 2**62]) % 256 ** min(size, 8))
    counts = counts.astype(f"<u{size}" if size != 3 else "u1")
    order = pick(rng, [0, 1, 2, 3, 8, 9, 20, 255])
    weights = np.full(4 * (1 + order), pick(rng, [0, 1, 2**20, 2**20 + 1]), "<u4")
    sections[0] = bytes([order, size]) + weights.tobytes() + zlib.compress(counts.tobytes(), 1)


def other_lengths(rng, head, sections):
    """Say of lengths whatever comes, where a coder has counts of them."""
    if len(sections) == N_STAGES + 2:
        counts = rng.integers(0, pick(rng, [2, 100, 2**62]), size=N_STAGES + 1)
        counts[0] = pick(rng, [int(counts[0]), 200 - int(counts[1:].sum()) % 200])
        sections[1][: 8 * (N_STAGES + 1)] = counts.astype("<u8").tobytes()


LIES = [
    *(lie_in_the_head, lie_in_the_head, change_a_section, change_a_section, exchange_sections),
    *(leave_out_or_repeat, other_counts, other_lengths),
]


# ---- One case, and many -------------------------------------------------------------------------


def attempt(read, data, memory):
    """Return what `read` gives, or None if it refuses; and the seconds."""
    memory.start()
    started = time.process_time()
    try:
        found = read(data)
    except FormatError:
        growth = memory.growth()
        assert growth <= 2 * len(data) + 64 * MIB, f"{growth} bytes for {len(data)}"
        found = None
    seconds = time.process_time() - started
    assert seconds < MOST_SECONDS, f"{seconds} s"
    return found


def truncated(data):
    with warnings.catch_warnings(action="ignore"):
        return decode_codes(data, allow_truncated=True)


def run_case(number, model, saved, memory):
    """Return what came of a case; raise AssertionError if it is not as it should be."""
    rng = np.random.default_rng(number)
    data, codes, lengths = pick(rng, saved)
    if rng.random() < 0.5:
        mutation = pick(rng, BYTES)
        changed = mutation(rng, data)
        if changed == data:
            return mutation.__name__, "the same"
        assert attempt(decode_codes, changed, memory) is None, "changed bytes were not noticed"
        part = attempt(truncated, changed, memory)
        if part is not None:
            n_stages = part[0].shape[1]
            np.testing.assert_array_equal(part[0], codes[:, :n_stages])
            np.testing.assert_array_equal(part[1], np.minimum(lengths, n_stages))
        attempt(inspect, changed, memory)
        return mutation.__name__, "refused" if part is None else f"{n_stages} stages"
    mutation = pick(rng, LIES)
    head, sections = take_apart(data)
    mutation(rng, head, sections)
    changed = put_together(head, sections)
    found = attempt(decode_codes, changed, memory)
    if found is None:
        return mutation.__name__, "refused"
    about = inspect(changed)
    assert found[0].shape == (about.n_samples, about.n_stages)
    assert found[0].max() < about.n_options
    assert found[1].max() <= about.n_stages
    if about.fingerprint == model.fingerprint():
        rows = attempt(lambda data: decompress(model, data), changed, memory)
        assert rows is None or rows.shape == (about.n_samples, model.n_features_in_)
    return mutation.__name__, "codes"


def run(numbers, log=print):
    """Run cases; return how often what came of them."""
    model, saved = originals()
    memory = Memory()
    return tried(numbers, lambda n: run_case(n, model, saved, memory), log)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--start", type=int, default=0)
    arguments = parser.parse_args()
    numbers = range(arguments.start, arguments.start + arguments.cases)
    outcomes = run(numbers, lambda line: print(line, flush=True))
    print(f"{outcomes.total()} cases, all as they should be:")
    for (mutation, outcome), n in sorted(outcomes.items()):
        print(f"  {mutation}: {n} {outcome}")
