"""Put the results of the benchmarks between the markers of the documentation and README.md.

python benchmarks/tables.py [--check]

With --check nothing is written, and the exit status is 1 if a file is not up to date.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
DOCS, README = ROOT / "docs" / "benchmarks.md", ROOT / "README.md"
GUIDES = [ROOT / "docs" / "guide" / f"{name}.md" for name in ("vqvae", "colour", "sound", "shapes")]
COMPRESSION = ROOT / "docs" / "compression.md"
ENCODINGS = ("encode", "encode_greedy", "encode_beam_4", "encode_beam_16")
RATES = ("train", "train_same_batch", *ENCODINGS, "decode")
BASELINE_COLUMNS = (
    "bits",
    "train_error",
    "test_error",
    "fit_seconds",
    "encode_rows_per_second",
    "decode_rows_per_second",
    "fit_memory_gib",
)
DATA_SETS = {
    "digits": "The bundled digits, 8 x 8 pixels",
    "mnist": "MNIST",
    "descriptors": "Image descriptors",
}
SHORT_FITS = {
    "MNIST": "MNIST, 60 bits",
    "clothes": "Fashion-MNIST, 30,000 training images, 60 bits",
    "descriptors": "Image descriptors, 64 bits",
}
SERVING = ("all_threads", "one_thread", "two_workers")
SHORT_COLUMNS = ("seconds", "steps", "test_error", "entropy_bits", "onehot", "soft")


def results(name):
    """Return the results in `name`.json and `name`-*.json, without those of --quick."""
    folder = ROOT / "benchmarks" / "results"
    paths = [*folder.glob(f"{name}.json"), *sorted(folder.glob(f"{name}-*.json"))]
    return [r for r in (json.loads(path.read_text()) for path in paths) if not r.get("quick")]


def table(rows, columns, form):
    """Return {row: {column: value}} in Markdown, a dash for what is missing."""
    head = ["", *(str(key).replace("_", " ") for key in columns)]
    lines = [head, ["---"] + ["---:"] * len(columns)]
    for name, row in rows.items():
        lines.append([name, *(form(row[key]) if key in row else "-" for key in columns)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def figure(value):
    """Return a count as it is, anything else to four digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def spread(values):
    """Return the mean, and beside it how far the farthest value is from it."""
    mean = sum(values) / len(values)
    farthest = max(abs(value - mean) for value in values)
    differ = farthest > 1e-6 * abs(mean)
    return f"{mean:.4g}" + (f" ± {float(f'{farthest:.1g}'):g}" if differ else "")


def machine(result):
    about = result.get("machine", {})
    versions = ", ".join(" ".join(pair) for pair in about.get("versions", {}).items())
    return f"{about.get('cpu')}, torch threads: {about.get('torch_threads')}; {versions}.\n"


def speed(result):
    subjects, rate = result.get("subjects", {}), "{0[images_per_second]:,.0f}".format
    yield machine(result) + f"Importing skvqdraw takes {result['import_seconds']:.2f} s.\n"
    yield "Images per second:\n"
    yield table(subjects, RATES, rate)
    yield "Share of the machine's measured peak:\n"
    yield table(subjects, RATES, "{0[share_of_peak]:.0%}".format)
    if ratios := result.get("ratios_ours_to_original"):
        yield "Times the speed of the original:\n\n" + table(ratios, RATES, "{:.1f}".format)
    yield table(subjects, ["train_memory_gib"], "{:.3f}".format)
    options = {f"{number} options": row for number, row in result.get("options", {}).items()}
    yield table(options, ENCODINGS[:2], rate)


def quality(result):
    errors, stages = {}, {}
    fits = {f"{seconds} s": fit for seconds, fit in result.get("fits", {}).items()}
    for seconds, fit in result.get("fits_of_preset", {}).items():
        fits[f"{seconds} s, `presets.mnist()`"] = fit
    for name, fit in fits.items():
        coded = fit["default"]
        row = errors[name] = dict(fit["test_error_first_2000"])
        row["training"] = fit["train_error_first_10000"]
        row["all test"], row["bits"] = coded["test_error"], coded["test_entropy_bits"]
        stages[name] = dict(enumerate(coded["test_error_by_stage"], 1))
    for name in sorted({"original", "original_published"} & result.keys()):
        title = name.replace("_published", ", published weights")
        title += f", {result[name]['seconds']:.0f} s" if "seconds" in result[name] else ""
        errors[title] = {"greedy": result[name]["test_error_first_2000"]}
        stages[title] = dict(enumerate(result[name]["test_error_by_stage_first_2000"], 1))
    columns = ("bits", "training", "all test", "default", "greedy", "beam_4", "beam_16")
    yield f"{machine(result)}\nErrors; the last four columns are of the first 2,000 test images:\n"
    yield table(errors, columns, figure)
    yield "Test error after each stage (the original: on the first 2,000 test images):\n"
    yield table(stages, range(1, 11), "{:.4f}".format)
    if result.get("seconds_to_reach"):
        yield f"The error of the original trained here takes us {result['seconds_to_reach']:g} s.\n"


def pretrained(result):
    columns = ("images", "test_error", "test_entropy_bits", "images_per_second")
    yield machine(result)
    yield table(result.get("codings", {}), columns, figure)
    read = {"test images recognised": result.get("probe", {})}
    yield table(read, ("linear", "mlp", "boosting", "linear_soft"), "{:.1%}".format)


def vectors(result):
    columns = ("error", "train_error", "test_entropy_bits", "fit_seconds", "encode_rows_per_second")
    yield machine(result)
    yield table(result.get("results", {}), columns, figure)


def losses(result):
    yield machine(result)
    for group, rows in result.items():
        if isinstance(rows, dict) and "squared_error" in rows:
            yield f"{group}:\n\n" + table(rows, ("step_ms", "ratio"), figure)


def text(result):
    yield machine(result)
    if about := result.get("text"):
        counts = f"{about['windows']:,} windows to learn from, {about['test_windows']:,} to judge"
        yield f"{about['name']}, {counts}:\n"
    rows = {}
    for name, row in result.get("right", {}).items():
        shares = (f"{share:.1%}" for share in row["right"])
        rows[name] = dict(zip((f"{bits} bits" for bits in result["bits"]), shares, strict=False))
        for key in ("nats", "steps", "fit_seconds", "encode_rows_per_second"):
            if key in row:
                rows[name][key] = figure(row[key])
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    yield table(rows, columns, str)
    if told := result.get("probe"):
        yield "Packages told apart, of ten:\n\n" + table(told, ["accuracy"], "{:.1%}".format)


def samples(result):
    yield machine(result)
    columns = ("bits", "bits_given_class", "fit_seconds", "samples_per_second")
    yield "Bits of test codes, of 60:\n\n" + table(result.get("bits", {}), columns, figure)
    told = table(
        result.get("told_apart", {}), ("from_reconstructions", "from_real_rows"), "{:.3f}".format
    )
    yield f"Told apart by a support vector machine, 0.5 being guesses:\n\n{told}"
    learned = {}
    for name, runs in result.get("accuracy", {}).items():
        learned[name] = {key: [100 * run[key] for run in runs] for key in runs[0]}
    for name, row in result.get("guided", {}).items():
        count = f"{name}, {row['samples']:,} samples"
        learned[count] = {key: [100 * share] for key, share in row["accuracy"].items()}
    yield "Per cent of test images recognised by classifiers that learned from:\n"
    yield table(learned, ("CNN", "MLP", "logistic regression"), spread)
    columns = ("as_asked", "samples_per_second")
    yield "What a logistic regression asked for, as an independent CNN sees it:\n"
    yield table(result.get("guided", {}), columns, figure)
    columns = ("known", "best_of_8", "mean")
    yield "Errors of upper halves, known, and of lower ones, the best of 8 and the mean:\n"
    yield table(result.get("completed", {}), columns, figure)
    enlarged = {name: {"error": error} for name, error in result.get("enlarged", {}).items()}
    yield "From 14 x 14 pixels to 28 x 28:\n\n" + table(enlarged, ["error"], figure)


def vqvae(result):
    yield machine(result)
    if used := result.get("usage"):
        yield "Share of 64 options in use after 5 seconds on the 8x8 digits, of 20 seeds:\n"
        yield table(used, ("least", "mean"), "{:.1%}".format)
    for budget in (key.removesuffix(", fits") for key in result if key.endswith(", fits")):
        yield f"{budget}:\n"
        yield table(fits_of(result, budget), FIT_COLUMNS, str)
        bits = {name: bits_of(row) for name, row in result.get(f"{budget}, priors", {}).items()}
        columns = dict.fromkeys(column for row in bits.values() for column in row)
        if bits:
            yield f"Bits of codes, {budget.split(',')[0]}, training and test images:\n"
            yield table(bits, columns, str)
        if f"{budget}, curves" in result:
            yield f"What decodes of a code, {budget}:\n"
            yield table(points_of(result[f"{budget}, curves"]), ("bits", "by prior", "error"), str)
        learned = result.get(f"{budget}, samples", {})
        if learned:
            yield f"Test images that a CNN recognises which learned from samples, {budget}:\n"
            yield table(learned, ("accuracy", "told_apart"), "{:.3f}".format)


FIT_COLUMNS = (
    *("bits", "bits, by a prior", "test error", "training error", "usage", "linear probe"),
    *("steps", "seconds", "rows/s, encoded", "rows/s, decoded"),
)


def fits_of(result, budget):
    """Return what tables say of fits."""
    rows = {}
    for name, row in result[f"{budget}, fits"].items():
        rows[name] = {
            "bits": f"{row['bits']:.0f}",
            "test error": f"{row['error']:.5f}",
            "training error": f"{row['train_error']:.5f}",
            "seconds": f"{row['seconds']:.0f}",
        }
        if name in (priors := result.get(f"{budget}, priors", {})):
            rows[name]["bits, by a prior"] = f"{fewest_bits(priors[name]):.1f}"
        for what in ("encode", "decode"):
            if f"{what}_rows_per_second" in row:
                rows[name][f"rows/s, {what}d"] = f"{row[f'{what}_rows_per_second']:,}"
        if "usage" in row:
            rows[name]["usage"] = ", ".join(f"{share:.0%}" for share in row["usage"])
        if "probe" in row:
            rows[name]["linear probe"] = f"{row['probe']:.1%}"
        if "steps" in row:
            rows[name]["steps"] = f"{row['steps']:,}"
    return rows


def fewest_bits(row):
    """Return the bits of test images' codes by the prior that is best for training images."""
    priors = [bits for bits in row.values() if isinstance(bits, dict)]
    return min(priors, key=lambda bits: bits["train"])["test"]


def bits_of(row):
    """Return bits of training and test codes by each prior."""
    shown = {}
    for prior, bits in row.items():
        pair = bits.values() if isinstance(bits, dict) else [bits]
        shown[prior] = ", ".join(f"{each:.1f}" for each in pair)
    return shown


def log_loss(result):
    of_fit = ("train_nats_first_10000", "entropy_bits", "fit_seconds", "steps")
    columns = ("nats", "nats_per_image", *of_fit)
    rows = {"no code": {"nats": result["entropy_of_mean"]}}
    for name, row in result.get("results", {}).items():
        rows[name] = {key: value for key, value in row.items() if value is not None}
    yield machine(result)
    yield table(rows, (*columns, "encode_rows_per_second"), figure)


def short_fits(result):
    yield machine(result)
    for name, title in SHORT_FITS.items():
        seeds = [runs for key, runs in result.items() if key.startswith(f"{name}, seed ")]
        rows = {}
        for contender in dict.fromkeys(key for runs in seeds for key in runs):
            runs = [runs[contender] for runs in seeds if contender in runs]
            rows[contender] = {
                column: values
                for column in SHORT_COLUMNS
                if (values := [run[column] for run in runs if column in run])
            }
        if rows:
            columns = [c for c in SHORT_COLUMNS if any(c in row for row in rows.values())]
            yield f"{title}:\n\n" + table(rows, columns, spread)


def serving(result):
    columns = ("ms_of_1", "ms_of_10", *(f"rows_per_second_{way}" for way in SERVING))
    yield machine(result)
    for state, title in {
        "idle": "Alone",
        "busy": "Beside a process that keeps a core busy",
    }.items():
        measured = result.get(state, {})
        rows, fits = {}, []
        for subject in measured.get("now", {}):
            for version, subjects in measured.items():
                if subject != "fit":
                    rows[f"{subject}, {version}"] = subjects[subject]
        for version, subjects in measured.items():
            fits.append(f"{subjects['fit']['seconds']:.1f} s {version}")
        yield f"{title}; the fit takes {', '.join(fits)}:\n\n" + table(rows, columns, figure)


def busy(result):
    rows = result["steps_per_second"]
    columns = dict.fromkeys(column for row in rows.values() for column in row)
    yield f"{machine(result)}\nSteps per second:\n\n{table(rows, columns, figure)}"


def baselines(result):
    yield machine(result)
    for name, title in DATA_SETS.items():
        if rows := result.get(f"{name}_results"):
            yield f"{title}:\n\n" + table(rows, BASELINE_COLUMNS, figure)
    if big := result.get("memory_map"):
        yield (
            "A memory map of {:,} x {} float32: `ClusterBoosting(8, 256, subsample=100_000)` fits "
            "in {:.0f} s, encodes {:,} rows/s and takes {:.2f} GiB beyond the imports.\n"
        ).format(
            *big["shape"],
            big["fit_seconds"],
            big["encode_rows_per_second"],
            big["peak_memory_gib"],
        )


def ablations(result):
    rows = {}
    for name, row in result.get("rows", {}).items():
        rows[name] = {**row["test_error"], **{k: v for k, v in row.items() if k != "test_error"}}
    columns = ("greedy", "default", "beam_4", "entropy_bits", "parameters", "step_ms")
    yield f"{machine(result)}\nAfter {result['steps']} steps:\n"
    yield table(rows, columns, figure)


def memory_map(result):
    encode, rates, fit = result["encode"], result["rows_per_second"], result["fit"]
    batch = result["milliseconds_for_128_rows"]
    yield machine(result)
    yield (
        f"- `encode` into a file: {encode['rows_per_second']:,.0f} rows/s and "
        f"{encode['memory_mib']:.0f} MiB of memory beyond the imports. Of parts of the file, in "
        f"turns with arrays: {rates['share']:.1%} of the rate in memory.\n"
        f"- `fit`: {fit['seconds']:.0f} s for {fit['steps']} steps, at "
        f"{fit['steps_per_second']:.1f} steps/s once it has begun; {fit['memory_mib']:.0f} MiB.\n"
        f"- 128 rows from a file of which nothing is in memory: {batch['asked_for_at_once']:.0f} "
        f"ms, as `fit` does it; {batch['one_after_the_other']:.0f} ms one after the other.\n"
    )


def headline():
    """Return the few figures of README.md, from the first result file of each kind."""
    rows = {}
    for result in results("speed")[:1]:
        for subject, rates in result.get("subjects", {}).items():
            for key in ("train", "encode", "decode"):
                number = f"{rates[key]['images_per_second']:,.0f}"
                rows.setdefault(f"{key}, images/s", {})[subject] = number
    for result in results("quality")[:1]:
        name = "test error after {:g} s"
        for seconds, fit in result.get("fits", {}).items():
            error = f"{fit['test_error_first_2000']['default']:.5f}"
            rows[name.format(float(seconds))] = {"ConvRefiner float32": error}
        for seconds, fit in result.get("fits_of_preset", {}).items():
            error = f"{fit['test_error_first_2000']['default']:.5f}"
            preset = name.format(float(seconds)) + ", `presets.mnist()`"
            rows[preset] = {"ConvRefiner float32": error}
        if theirs := result.get("original"):
            error = f"{theirs['test_error_first_2000']:.5f}"
            rows.setdefault(name.format(round(theirs["seconds"])), {})["original"] = error
        if theirs := result.get("original_published"):
            error = f"{theirs['test_error_first_2000']:.5f}"
            rows["test error, weights that come along"] = {"original": error}
    for result in results("pretrained")[:1]:
        for title, beam_size in (
            ("test error, weights that come along", 1),
            ("the same with `beam_size=4`", 4),
            ("the same with `beam_size=16`", 16),
        ):
            coding = result["codings"][f"beam_size={beam_size}, round_beam_size=16, float32"]
            error = coding["test_error"]
            if beam_size == 1:  # there it is of all test images
                error = result["test_error_by_stage_first_2000"][-1]
            coded = f"{error:.5f} ({coding['images_per_second']:,.0f} images/s)"
            rows.setdefault(title, {})["ConvRefiner float32"] = coded
    names = ("ConvRefiner float32", "ConvRefiner bf16", "PaperRefiner float32", "original")
    measured = [name for name in names if any(name in row for row in rows.values())]
    return f"\n{table(rows, measured, str)}\n" if rows else ""


def codec(result):
    yield machine(result)
    files = result.get("files", {})
    ours = {
        name: point for name, point in files.get("ours", {}).items() if name.endswith(" 10 stages")
    }
    rows = {name: dict(zip(("bytes", "error"), p, strict=True)) for name, p in ours.items()}
    for name, point in files.get("usual", {}).items():
        where = "single files" if name.endswith("single files") else "one picture"
        row = rows.setdefault(name.removesuffix(f", {where}"), {})
        row |= {f"{what}, {where}": n for what, n in zip(("bytes", "error"), point, strict=True)}
    for row in rows.values():
        for what in ("bytes", "error"):
            if what in row:
                row[f"{what}, one picture"] = row.pop(what)
    columns = [
        f"{what}, {where}"
        for where in ("one picture", "single files")
        for what in ("bytes", "error")
    ]
    yield "Bytes an image and squared error, of files; zlib and ours are one file of all images:\n"
    yield table(rows, columns, figure)
    equal = {k: v for k, v in result.get("at_equal_error", {}).items() if k != "ours"}
    yield "Bytes an image at the error of ours with a beam of 16, and how many times ours:\n"
    yield table(equal, ("bytes", "times_ours"), figure)
    yield "Bytes of a stream of 10,000 codes, and those above code length and tables:\n"
    columns = ("bytes", "code_length", "tables", "overhead")
    yield table(result.get("overhead", {}), columns, "{:,.0f}".format)
    yield "Options written and read in a second:\n\n" + table(
        result.get("symbols", {}), ("write", "read"), figure
    )
    runs = {
        f"numpy {r['numpy']}, torch {r['torch']}, {r['threads']} threads": r
        for r in result.get("same_codes", [])
    }
    yield "The same codes of the same bytes:\n\n" + table(runs, ("same",), str)
    if arrays := result.get("zarr"):
        yield "An array of zarr, read by a process that imports zarr alone:\n"
        names = ("rows", "bytes_per_row", "equal", "write_rows_per_second", "read_rows_per_second")
        yield table(
            {"digits": arrays}, names, lambda v: str(v) if isinstance(v, bool) else figure(v)
        )
    maps = {k: v for k, v in result.get("memory", {}).items() if isinstance(v, dict)}
    yield "A memory map of a million images of bytes:\n"
    yield table(maps, ("anonymous_mib", "seconds", "rows_per_second"), figure)


def short_codec():
    """Return bytes an image at our error, for README.md and docs/compression.md."""
    for result in results("codec")[:1]:
        n_bytes, error = result["at_equal_error"]["ours"]
        rows = {
            "codes, a file of 10,000 images": {"bytes an image": f"{n_bytes:.1f}", "times": "1"}
        }
        for name, row in result["at_equal_error"].items():
            if name != "ours":
                rows[name] = {
                    "bytes an image": f"{row['bytes']:.1f}",
                    "times": f"{row['times_ours']:.1f}",
                }
        shown = table(rows, ("bytes an image", "times"), str)
        body = f"\nDigits of MNIST, at a squared error of {error:.4f}:\n\n{shown}\n"
        return {"codec_short": body}
    return {}


def short_baselines():
    """Return the errors of all baselines on MNIST, for README.md."""
    rows = {}
    for result in results("baselines")[:1]:
        for name, row in result["mnist_results"].items():
            rows[name] = {"bits": row["bits"], "MNIST, test error": f"{row['test_error']:.4f}"}
            rows[name]["fit, s"] = f"{row['fit_seconds']:.0f}"
            rows[name]["encode, rows/s"] = f"{row['encode_rows_per_second']:,}"
    columns = ("bits", "MNIST, test error", "fit, s", "encode, rows/s")
    return f"\n{table(rows, columns, str)}\n" if rows else ""


def points_of(curves):
    """Return some points of each curve of bits and errors."""
    rows = {}
    for name, curve in curves.items():
        n_points = len(curve["bits"])
        step = max(n_points // 5, 1)
        for point in range((n_points - 1) % step, n_points, step):
            rows[f"{name}, {point + 1} of {n_points}"] = {
                "bits": f"{curve['bits'][point]:.0f}",
                "by prior": f"{curve['by_prior'][point]:.1f}",
                "error": f"{curve['error'][point]:.5f}",
            }
    return rows


def short_vqvae():
    """Return VQ-VAE beside the others on MNIST, at equal bits and time, for README.md."""
    for result in results("vqvae"):
        samples = result.get("MNIST, 245 bits, samples", {})
        rows = fits_of(result, "MNIST, 245 bits")
        rows.pop("Gaussian VAE", None)
        for name, row in rows.items():
            for way in ("uniform codes", "prior"):
                if f"{name}, {way}" in samples:
                    told = samples[f"{name}, {way}"]["told_apart"]
                    row[f"samples told apart: {way}"] = f"{told:.1%}"
        columns = ("bits", "bits, by a prior", "test error", "linear probe", "rows/s, encoded")
        of_samples = dict.fromkeys(key for row in rows.values() for key in row if "samples" in key)
        return {"vqvae_short": f"\n{table(rows, (*columns, *of_samples), str)}\n"}
    return {}


def colour(result):
    yield machine(result)
    bytes_of = result.get("bytes", ())
    for kind in ("CIFAR-10", "faces"):
        if f"{kind}, fits" not in result:
            continue
        yield f"{kind}, squared error of test images, by bytes an image:\n"
        yield table(errors_by_bytes(result, kind), bytes_of, "{:.5f}".format)
        columns = ("train_error", "fit_seconds", "images_seen", "encoded_per_second")
        yield table(result[f"{kind}, fits"], columns, figure)
    if speeds := result.get("CIFAR-10, speed"):
        columns = ("learned_per_second", "encoded_per_second", "error", "n_parameters")
        yield "The preset and its elder, both of 600 bits, after 6,400 images:\n"
        yield table(speeds, columns, figure)
    if beams := result.get("CIFAR-10, beams"):
        yield "More hypotheses, on 500 test images:\n"
        yield table(beams, ("error", "encoded_per_second"), figure)
    if drawn := result.get("CIFAR-10, samples"):
        yield "Random codes told from reconstructions of test images:\n"
        yield table(drawn, ("told_apart",), "{:.1%}".format)
    if probes := result.get("CIFAR-10, probe"):
        yield "Test images that a linear classifier recognises, which learned from 20,000:\n"
        yield table(probes, ("accuracy", "reconstructions"), "{:.1%}".format)


def audio(result):
    yield machine(result)
    if about := result.get("recordings"):
        counts = f"{about['train']:,} recordings to learn from, {about['test']:,} to judge"
        yield f"{about['name']}, {counts}, {about['seconds']} s long on average:\n"
    for kind, title in (("official", "The set's own split"), ("speakers", "Speakers held out")):
        if kind in result:
            yield f"{title}:\n"
            yield heard(result, kind, ("recognised", "errors", "db", "db_of_rows", "fit_seconds"))


def heard(result, kind, columns):
    """Return the table of what is recognised."""
    rows = {
        name: {**row, "recognised": f"{row['recognised']:.1%}"}
        for name, row in result[kind].items()
    }
    return table(rows, columns, lambda value: value if isinstance(value, str) else figure(value))


def shapes(result):
    yield machine(result)
    for kind in ("furniture", "made", "short"):
        if about := result.get(f"{kind}_data"):
            counts = f"{about['train']:,} to learn from, {about['test']:,} to judge"
            yield f"{about['name']}, {about['shape'][0]} voxels a side, {counts}:\n"
        elif kind in result:
            yield "Furniture, fits of 100 seconds:\n"
        if kind in result:
            yield overlaps(result, kind, ("test", "train"))
        if others := result.get(kind, {}).get("others"):
            yield (
                f"The nearest training shape: {others['nearest']:.3f}. Lossless, "
                f"{others['lossless_bits']:,} bits a shape.\n"
            )


def overlaps(result, kind, parts):
    """Return the table of intersections over unions."""
    rows, columns = {}, {}
    for name, row in result[kind].items():
        for part in parts if name != "others" else ():
            for bits, share in zip(result["bits"], row[part], strict=True):
                column = f"{bits} bits" + (", training" if part == "train" else "")
                rows.setdefault(name, {})[column] = columns[column] = share
    return table(rows, columns, "{:.3f}".format)


def errors_by_bytes(result, kind):
    """Return errors by bytes, those of image codecs between the qualities that were measured."""
    rows = {
        name: {int(n): error for n, error in row["errors"].items()}
        for name, row in result[f"{kind}, fits"].items()
        if "errors" in row
    }
    for name, row in result.get(f"{kind}, codecs", {}).items():
        points = sorted((point["bytes"], point["error"]) for point in row["curve"])
        sizes, errors = zip(*points, strict=True)
        rows[f"{name}, 196 images in a file"] = {
            n: float(np.exp(np.interp(np.log(n), np.log(sizes), np.log(errors))))
            for n in result["bytes"]
            if sizes[0] <= n <= sizes[-1]
        }
    if kind == "CIFAR-10":
        for vqvae_result in results("vqvae"):
            row = vqvae_result["CIFAR-10, 576 bits, fits"]["VQVAE"]
            rows["VQVAE (72 bytes)"] = {75: row["error"]}
        rows["VQ-DRAW, the author's log"] = {75: result["published"]["the end"]}
    return rows


def short_guides():
    """Return a table of each benchmark that a guide has in short, where that part was measured."""
    bodies = {
        "colour": ("CIFAR-10, fits", short_colour),
        "audio": ("official", lambda result: heard(result, "official", ("recognised", "db"))),
        "shapes": ("furniture", lambda result: overlaps(result, "furniture", ("test",))),
    }
    return {
        f"{name}_short": f"\n{body(result)}\n"
        for name, (part, body) in bodies.items()
        for result in results(name)
        if part in result
    }


def short_colour(result):
    return table(errors_by_bytes(result, "CIFAR-10"), result["bytes"], "{:.4f}".format)


def filled(path, sections):
    """Return the text of a file, old and new, the sections between their markers."""
    old = new = path.read_text()
    for name, body in sections.items():
        between = f"(<!-- begin: {name} -->\n).*(<!-- end: {name} -->)"
        new = re.sub(between, lambda m, body=body: m[1] + body + m[2], new, flags=re.DOTALL)
    return old, new


def main():
    check, outdated, sections = "--check" in sys.argv, [], {}
    makers = (
        speed,
        quality,
        short_fits,
        pretrained,
        baselines,
        ablations,
        vectors,
        losses,
        log_loss,
        text,
        samples,
        vqvae,
        colour,
        audio,
        shapes,
        codec,
        memory_map,
        serving,
        busy,
    )
    for maker in makers:
        parts = [part for result in results(maker.__name__) for part in maker(result)]
        sections[maker.__name__] = "\n".join(["", *(parts or ["Not measured yet.\n"]), ""])
    short = short_codec() | short_vqvae() | short_guides()
    for path, bodies in (
        (DOCS, sections),
        (README, short | {"headline": headline(), "baselines": short_baselines()}),
        (COMPRESSION, short),
        *((guide, short) for guide in GUIDES),
    ):
        old, new = filled(path, bodies)
        if new != old:
            outdated.append(path.name)
            if not check:
                path.write_text(new)
    print("out of date:" if check else "changed:", *outdated or ["nothing"])
    sys.exit(bool(check and outdated))


if __name__ == "__main__":
    main()
