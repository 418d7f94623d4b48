"""kill -9 in the middle, with a model: the arms that follow are the ones that would have."""

import json
import subprocess
import sys
from pathlib import Path

from places import urls

__all__ = ["urls"]

EXPERIMENT = """
schema: schedd/v1
name: same
parameters:
  - {name: x, type: range, bounds: [0, 1]}
  - {name: n, type: range, parameter_type: int, bounds: [1, 9]}
objective: "-loss"
generation_strategy: {nodes: [{generator: sobol, num_trials: 4}, {generator: botorch}], seed: 3}
trials: {total_trials: 7, max_pending_trials: 1}
runner:
  command: COMMAND
  trials_dir: trials
"""
BODY = """\
import os
from metrics.record import record
x, n = float(os.environ["SCHEDD_PARAM_X"]), int(os.environ["SCHEDD_PARAM_N"])
record({"loss": (x - 0.3) ** 2 + abs(n - 3)})
"""
SCHEDD = (sys.executable, "-P", "-c", "from scheduler.cli import main; main()")


def experiment(folder: Path, url: str) -> tuple[Path, str]:
    """Return where an experiment is run, and where it is kept."""
    folder.mkdir()
    command = json.dumps([sys.executable, "-P", "-c", BODY])
    (folder / "e.yaml").write_text(EXPERIMENT.replace("COMMAND", command))
    return folder, url


def schedd(at: tuple[Path, str], *arguments: str, kill_after: int | None = None) -> str:
    """Run a verb; kill it once so many trials have completed, where asked. Return its output."""
    folder, url = at
    process = subprocess.Popen(
        [*SCHEDD, *arguments, "--storage", url],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = []
    with process.stdout:
        for line in process.stdout:
            said.append(line)
            if kill_after is not None and sum(" completed" in s for s in said) >= kill_after:
                process.kill()
    process.wait()
    assert process.returncode == (0 if kill_after is None else -9), said
    return "".join(said)


def arms(at: tuple[Path, str]) -> list[tuple[int, dict[str, float]]]:
    trials = json.loads(schedd(at, "trials", "--json"))
    return [(t["attempt"], t["arms"][0]["parameters"]) for t in trials]


def test_a_killed_run_goes_on_with_the_arms_it_would_have_had(urls, tmp_path: Path) -> None:
    plain, killed = (experiment(tmp_path / name, urls(name)) for name in ("plain", "killed"))
    schedd(plain, "run", "e.yaml")
    for trials in (2, 2, 1):
        schedd(killed, "run", "e.yaml", kill_after=trials)
    schedd(killed, "resume")
    assert arms(killed) == arms(plain)
    assert len(arms(plain)) == 7
