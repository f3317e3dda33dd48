"""What a benchmark runs on, how fast that can be, how much memory is in use, and the report."""

import importlib.metadata
import json
import os
import platform
import statistics
import sys
import threading
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from skvqdraw._device import trains_in_bf16


def describe():
    """Return hardware, versions and the command, for the head of a result file."""
    packages = ("skvqdraw", "torch", "scikit-learn", "numpy", "scipy")
    return {
        # Where things lie on this machine is nobody's business.
        "command": " ".join(["python", *(Path(a).name if a[:1] == "/" else a for a in sys.argv)]),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "bf16_native": trains_in_bf16(torch.device("cpu")),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "date": time.strftime("%Y-%m-%d"),
    }


def _cpu_name():
    """Name and model numbers: virtual machines often say no more than the brand."""
    fields = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    named = (fields.get(key, "unknown") for key in ("model name", "cpu family", "model"))
    return "{} (family {}, model {})".format(*named)


def seconds_of(function, *, repeats=5):
    """Return the median time of a call, after one that does not count."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def peak_gflops(dtype, repeats=9):
    """Return the rates of a large matrix product and of a large convolution, in GFLOP/s.

    Which is faster depends on the libraries: the share of a peak means the higher of the two.
    """
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    product = 2 * 2048**3 / seconds_of(lambda: a @ b, repeats=repeats)
    convolve = torch.nn.Conv2d(256, 256, 3, padding=1).to(dtype, memory_format=torch.channels_last)
    x = torch.randn(32, 256, 28, 28).to(dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        flops = 2 * 9 * 256**2 * 28**2 * 32
        convolution = flops / seconds_of(lambda: convolve(x), repeats=repeats)
    return {"product": round(product / 1e9, 1), "convolution": round(convolution / 1e9, 1)}


def flops_of(function):
    """Return the operations of matrix products and convolutions in a call."""
    from skvqdraw._threads import in_order  # an older checkout, measured beside this, has none

    def counted(_):
        counter = FlopCounterMode(display=False)
        counter.mod_tracker = _NoModules()
        with counter:
            function()
        return counter.get_total_flops()

    # The counter sees what its own thread computes: within one of ours, coding stays there.
    return next(in_order(counted, [None], 1))


class _NoModules:
    """Stands for the counter's watch over modules, which fails where a parameter is an input."""

    parents = {"Global"}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


def rate(n_images, seconds, flops):
    """Return images/s, the operations of one image, and GFLOP/s."""
    return {
        "images_per_second": round(n_images / seconds, 1),
        "mflop_per_image": round(flops / n_images / 1e6, 1),
        "gflop_per_second": round(flops / seconds / 1e9, 1),
    }


def rate_of(function, n_images, repeats=3):
    """Return the rate of a call that works on so many images."""
    return rate(n_images, seconds_of(function, repeats=repeats), flops_of(function))


class Report(dict):
    """What was measured: written after each section, so that a run that is killed keeps it.

    With `go_on`, the sections that the file has already are taken over.
    """

    def __init__(self, path, *, go_on=False, **head):
        super().__init__()
        self.path = Path(path) if path else None
        if go_on and self.path and self.path.exists():
            self.update(json.loads(self.path.read_text()))
        self.update(machine=describe(), **head)
        self.started = time.perf_counter()

    def add(self, name, value, *, within=None):
        """Store a section, or an entry of the section `within`; write and print it."""
        (self if within is None else self.setdefault(within, {}))[name] = value
        if self.path:
            new = self.path.with_name(self.path.name + ".new")
            new.write_text(json.dumps(self, indent=2) + "\n")
            new.replace(self.path)
        minutes = (time.perf_counter() - self.started) / 60
        print(f"[{minutes:5.1f} min] {within or ''} {name}: {json.dumps(value)}", flush=True)


class AnonymousMemory:
    """Watches RssAnon, the memory of this process that is not file-backed, in a thread."""

    def __init__(self, interval=0.02):
        self.interval = interval

    def __enter__(self):
        self.at_start = self.peak = self.now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        while not self._stop.wait(self.interval):
            self.peak = max(self.peak, self.now())

    @property
    def growth_gib(self):
        """GiB at the peak above the start."""
        return (self.peak - self.at_start) / 2**30

    @staticmethod
    def now():
        """Return RssAnon in bytes."""
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise OSError("RssAnon is not in /proc/self/status: this needs Linux")
