"""A small experiment with a model that really ran, once a session: noisy, constrained."""

import functools
import sys
import tempfile
from pathlib import Path

import pytest
from cli_bench import process

FILE = """\
schema: schedd/v1
name: learned
parameters:
  - {name: x, type: range, bounds: [0.0, 1.0]}
  - {name: n, type: range, parameter_type: int, bounds: [1, 9]}
objective: "-loss"
outcome_constraints: ["size <= 30"]
metrics: {loss: {}, size: {sem: 0}}
status_quo: {parameters: {x: 0.5, n: 3}}
generation_strategy: {nodes: [{generator: sobol, num_trials: 4}, {generator: botorch}]}
trials: {total_trials: 8, max_pending_trials: 2}
missing_metrics: {retry_for: 0s}
polling: {interval: 0.2s}
runner: {type: local, command: ["@python", trial.py, "{params.x}", "{params.n}"]}
"""
TRIAL = """\
import json, os, random, sys
index = os.environ["SCHEDD_TRIAL_INDEX"]
if index == "2":
    sys.exit("it went wrong")
x, n = float(sys.argv[1]), int(sys.argv[2])
random.seed(index)
loss = (x - 0.3) ** 2 + 0.05 * (n - 5) ** 2 + random.gauss(0.0, 0.03)
with open(os.environ["SCHEDD_TRIAL_DIR"] + "/metrics.jsonl", "a") as out:
    print(json.dumps({"loss": loss, "size": 5 * n}), file=out)
"""


@functools.cache
def ran(base: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="learned", dir=base))
    (folder / "e.yaml").write_text(FILE.replace("@python", sys.executable))
    (folder / "trial.py").write_text(TRIAL)
    done = process(folder, "run", "e.yaml")
    assert done.returncode == 0, done.stderr
    assert "learned: 8 trials (7 completed, 1 failed)" in done.stdout, done.stdout
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """Return the folder of the experiment: leave it as it is. Stands in for ``cli_bench``'s."""
    return ran(tmp_path_factory.getbasetemp())
