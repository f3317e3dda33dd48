"""Compressed rows: bytes beside usual formats, speed, memory, and the same codes everywhere.

    SKVQDRAW_DATA=folder python benchmarks/bench_codec.py --python ../other/bin/python \\
        --out benchmarks/results/codec.json

The 10,000 test images of MNIST, coded with the model that comes with the package; `ClusterBoosting`
of ten stages of 64 options beside it, both with priors fitted on codes of training images.

- files: bytes an image of a stream, all counted, and the squared error of pixels in [0, 1], by
  stages; of JPEG, WebP, AVIF, JPEG 2000 and PNG (Pillow), the first 1,000 test images in a file
  each and the 10,000 in one picture; of AVIF with all the time that it can use, the first 2,500 in
  one picture; of zlib.
- at_equal_error: bytes an image of these formats at the error of ours with a beam of 16, between
  two qualities as the logarithms go.
- overhead: bytes of a stream of 10,000 codes above the code length of its prior, and its tables.
- symbols: options written and read in a second, of a million codes of ten.
- same_codes: the SHA-256 of the codes of streams, read in processes with other numbers of threads
  and with other interpreters, whose versions of numpy and torch it tells.
- zarr: 100,000 images, written, closed, and read by a process that imports zarr alone.
- memory: a memory map of a million images of bytes into a file and back: anonymous memory above
  that after the imports, the model included.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pictures
from bench_memory_map import forget, model_of_bytes, write_images
from machine import AnonymousMemory, Report
from mnist import CODINGS, IMAGE_SHAPE, coded_as, load_images

from skvqdraw import ClusterBoosting, load_pretrained
from skvqdraw.codec import compress, compress_file, decode_codes, decompress, decompress_file
from skvqdraw.priors import MarginalPrior, MarkovPrior
from skvqdraw.streams.blocks import CodesReader, CodesWriter, blocks
from skvqdraw.streams.container import Header, pack, unpack

SEED = 0
N_SLOWEST = 2_500
# Single files that are made, rows of the large array, and rows of the memory map.
SIZES = {False: (1_000, 100_000, 1_000_000), True: (20, 300, 3_000)}
READ_ZARR = """
import sys, zarr
loaded = "skvqdraw" in sys.modules
rows = zarr.open_array(sys.argv[1], mode="r")[:]
import hashlib, json
print(json.dumps({"imported_before": loaded, "sha256": hashlib.sha256(rows.tobytes()).hexdigest()}))
"""
READ_CODES = """
import hashlib, json, sys
import numpy, torch
torch.set_num_threads(int(sys.argv[1]))
from skvqdraw.codec import decode_codes
digest = hashlib.sha256()
for path in sys.argv[2:]:
    for array in decode_codes(path):
        digest.update(array.astype("<u4").tobytes())
versions = {"numpy": numpy.__version__, "torch": torch.__version__}
print(json.dumps({**versions, "sha256": digest.hexdigest()}))
"""


# ---- Bytes --------------------------------------------------------------------------------------


def our_files(vq, X):
    """Return bytes an image and errors of streams, by the beam and the number of stages."""
    found = {}
    for coding in ("default", "beam_16"):
        data = compress(coded_as(vq, coding), X)
        for n_stages in range(1, vq.n_stages + 1):
            shorter = len(data) if n_stages == vq.n_stages else len(_cut(data, n_stages))
            error = np.square(decompress(vq, data, n_stages=n_stages) - X).mean(dtype=float)
            found[f"{coding}, {n_stages} stages"] = [shorter / len(X), float(error)]
    return found


def _cut(data, n_stages):
    """Return a stream of the first stages of another."""
    header, sections, _ = unpack(data)
    return b"".join(pack(header._replace(n_stages=n_stages), sections[:n_stages]))


def usual_files(images, n_single):
    """Return bytes an image and errors of the usual formats, by the quality."""
    found = {"zlib, one block": [pictures.of_zlib(images), 0.0]}
    for form, settings in pictures.QUALITIES.items():
        for setting in settings:
            name = f"{form} {next(iter(setting.values()))}"
            if form == "JPEG2000":
                name = f"{form} {setting['quality_layers'][0]}"
            single = pictures.of_files(images[:n_single], form, setting)
            together = pictures.of_mosaic(images, form, setting)
            found[f"{name}, single files"], found[f"{name}, one picture"] = single, together
    for setting in pictures.SLOWEST_AVIF:
        point = pictures.of_mosaic(images[:N_SLOWEST], "AVIF", setting)
        found[f"AVIF {setting['quality']}, slowest, one picture"] = point
    return found


def at_error(files, ours):
    """Return the bytes an image of each format at our error, and how many times ours these are."""
    n_bytes, error = ours
    groups = {}
    for name, point in files.items():
        form, _, where = name.partition(", ")
        groups.setdefault(f"{form.split()[0]}, {where}", []).append(point)
    found = {}
    for name, points in groups.items():
        points = sorted(points, key=lambda point: -point[1])
        if min(e for _, e in points) <= error <= max(e for _, e in points) and len(points) > 1:
            logs = np.log([[max(e, 1e-12), b] for b, e in points])[::-1]
            at = float(np.exp(np.interp(np.log(error), logs[:, 0], logs[:, 1])))
            found[name] = {"bytes": round(at, 2), "times_ours": round(at / n_bytes, 2)}
    return found


def overhead(codes, prior):
    """Return the bytes of a stream of codes above the code length of its prior."""
    ideal = prior.bits(codes).sum() / 8 if prior else codes.size * 6 / 8
    data = stream_of(codes, prior)
    tables = len(unpack(data)[1][0]) if prior else 0
    return {
        "bytes": len(data),
        "code_length": round(ideal, 1),
        "tables": tables,
        "overhead": round(len(data) - tables - ideal, 1),
    }


# ---- Speed, and the same codes ------------------------------------------------------------------


def stream_of(codes, prior, n_options=64):
    """Return a stream of codes of no model."""
    writer = CodesWriter(codes.shape[1], n_options, prior)
    for block in blocks(len(codes)):
        writer.write(codes[block])
    shape = codes.shape[1], n_options, len(codes), 784
    header = Header(writer.writer.coder, False, np.dtype("f4"), *shape, "00" * 32)
    return b"".join(pack(header, writer.finish()))


def symbols(codes, prior):
    """Return how many options are written, and read, in a second: medians of three."""
    write, read = [], []
    for _ in range(3):
        started = time.perf_counter()
        data = stream_of(codes, prior)
        write.append(time.perf_counter() - started)
        started = time.perf_counter()
        header, sections, _ = unpack(data)
        found = [some for _, some, _ in CodesReader(header, sections, codes.shape[1]).blocks()]
        read.append(time.perf_counter() - started)
        if not np.array_equal(np.concatenate(found), codes):
            raise RuntimeError("codes came back otherwise")
    rates = {"write": codes.size / np.median(write), "read": codes.size / np.median(read)}
    return {name: round(rate) for name, rate in rates.items()}


def same_codes(streams, pythons):
    """Return what processes with other threads and other interpreters read of the same bytes."""
    expected = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for i, data in enumerate(streams):
            paths.append(Path(folder, f"{i}.skvq"))
            paths[-1].write_bytes(data)
            for array in decode_codes(data):
                expected.update(array.astype("<u4").tobytes())
        runs = []
        for python, threads in [
            (sys.executable, 1),
            (sys.executable, 8),
            *((p, 2) for p in pythons),
        ]:
            found = _said_by([python, "-c", READ_CODES, str(threads), *map(str, paths)])
            found["same"] = found.pop("sha256") == expected.hexdigest()
            runs.append({"threads": threads, **found})
    return runs


def _said_by(command):
    """Return the JSON that a process prints last; it imports the package that this one has."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(run.stdout.splitlines()[-1])


# ---- Large arrays -------------------------------------------------------------------------------


def large_array(vq, X, n_rows):
    """Write an array of zarr, and have another process read it."""
    from skvqdraw.zarr import create_array

    rows = np.resize(X, (n_rows, X.shape[1]))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "digits.zarr")
        started = time.perf_counter()
        array = create_array(path, vq, rows, chunk_rows=min(10_000, n_rows))
        written = time.perf_counter() - started
        n_bytes = sum(f.stat().st_size for f in Path(path, "c").rglob("*") if f.is_file())
        model_bytes = sum(f.stat().st_size for f in Path(path).glob("*.safetensors"))
        started = time.perf_counter()
        found = _said_by([sys.executable, "-c", READ_ZARR, path])
        seconds = time.perf_counter() - started
    expected = vq.decode(vq.encode(rows))
    return {
        "rows": n_rows,
        "chunks": array.nchunks,
        "bytes_per_row": round(n_bytes / n_rows, 4),
        "model_bytes": model_bytes,
        "equal": found["sha256"] == hashlib.sha256(expected.tobytes()).hexdigest(),
        "imported_skvqdraw_before_opening": found["imported_before"],
        "write_rows_per_second": round(n_rows / written),
        "read_rows_per_second": round(n_rows / seconds),
    }


def memory(quick):
    """Compress a memory map into a file, and that into another; return memory and rates."""
    n_rows, found = SIZES[quick][2], {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images.npy")
        write_images(path, n_rows, quick)
        forget(path)
        for name in ("compress_file", "decompress_file"):
            command = [sys.executable, __file__, "--subject", name, "--data", str(path)]
            found[name] = _said_by(command)
        found["rows"], found["bytes"] = n_rows, path.with_suffix(".skvq").stat().st_size
    return found


def subject(name, path):
    """Print what one of the two costs, in a process that does nothing else."""
    with AnonymousMemory() as watched:
        started = time.perf_counter()
        vq, stream = model_of_bytes(), path.with_suffix(".skvq")
        if name == "compress_file":
            compress_file(vq, np.load(path, mmap_mode="r"), stream)
        else:
            decompress_file(vq, stream, path.with_name("decoded.npy"))
        seconds = time.perf_counter() - started
    n_rows = len(np.load(path, mmap_mode="r"))
    grown = {"anonymous_mib": round(2**10 * watched.growth_gib), "seconds": round(seconds, 1)}
    print(json.dumps({**grown, "rows_per_second": round(n_rows / seconds)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="the JSON file to write, section by section")
    parser.add_argument("--python", nargs="*", default=[], help="other interpreters to read with")
    parser.add_argument("--quick", action="store_true", help="only see that it runs: no figures")
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.subject:
        subject(arguments.subject, arguments.data)
        return
    quick = arguments.quick
    n_single, n_large, _ = SIZES[quick]
    report = Report(arguments.out, benchmark="codec", quick=quick, seed=SEED)
    data, vq = load_images(quick), load_pretrained("mnist-60bit")
    images = np.rint(255 * data.X_test).astype(np.uint8).reshape(-1, *IMAGE_SHAPE)
    files = our_files(vq, data.X_test)
    report.add("ours", files, within="files")
    usual = usual_files(images, n_single)
    report.add("usual", usual, within="files")
    best = files[f"beam_16, {vq.n_stages} stages"]
    report.add("at_equal_error", {"ours": best, **at_error(usual, best)})
    coded_as(vq, next(iter(CODINGS)))
    boosting = ClusterBoosting(10, 64, random_state=SEED).fit(data.X)
    streams = [compress(vq, data.X_test, max_error=0.006)]
    for name, estimator in {"VQDRAW": vq, "ClusterBoosting": boosting}.items():
        codes, codes_test = estimator.encode(data.X), estimator.encode(data.X_test)
        many = np.resize(codes, (1_000_000, 10))
        for prior in (None, MarginalPrior(64), MarkovPrior(n_options=64)):
            title = f"{name}, {type(prior).__name__ if prior else 'bits'}"
            if prior:
                prior.fit(codes)
            streams.append(stream_of(codes_test, prior))
            report.add(title, overhead(codes_test, prior), within="overhead")
            if name == "VQDRAW":
                report.add(title, symbols(many, prior), within="symbols")
    report.add("same_codes", same_codes(streams, arguments.python))
    report.add("zarr", large_array(vq, np.concatenate([data.X, data.X_test]), n_large))
    report.add("memory", memory(quick))


if __name__ == "__main__":
    main()
