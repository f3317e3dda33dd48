"""A few of the mutated models of `fuzz_load`, which tries many more by hand."""

import sys

import fuzz_load
import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="the most memory held is read from /proc")
def test_mutated_models_are_refused_or_whole(tmp_path):
    outcomes = fuzz_load.run(range(2000), tmp_path)
    assert outcomes.total() == 2000
    loaded = sum(n for (_, outcome), n in outcomes.items() if outcome == "loaded")
    assert 50 < loaded < 200  # else it is not what it was meant to be
    assert len({outcome for _, outcome in outcomes}) > 300
