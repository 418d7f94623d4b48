"""The benchmarks run and print figures; how fast things are is for ``make bench`` to say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "benchmarks"


@pytest.mark.parametrize("how", [[], ["apart"]])
def test_overhead_prints_figures_of_a_whole_run(how):
    command = [sys.executable, HERE / "overhead.py", "30", *how]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures = json.loads(printed)
    assert figures.keys() == {"trials", "cpu", "first", "last", "wall", "worker", "imports_s"}
    assert all(value > 0 for value in figures.values())
