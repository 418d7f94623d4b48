"""Every file in configs/ loads, and runs three trials with what it names."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from services.slurm import slurm, why_not

from scheduler import registry
from scheduler.config.load import load_file

CONFIGS = Path(__file__).parent.parent / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))


@contextmanager
def backend(name: str) -> Iterator[Mapping[str, str]]:
    """Bring up what an example runs on; give the environment in which it is found."""
    if name != "slurm.yaml":
        yield os.environ
        return
    if why_not():
        pytest.skip(why_not())
    with slurm(nodes=1) as cluster:
        yield cluster.env


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_it_runs_three_trials(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the examples train scikit-learn models")
    copy = shutil.copytree(CONFIGS, tmp_path / "configs") / path.name
    assert load_file(copy, registry).trials.total_trials > 3
    text = copy.read_text()
    total = yaml.safe_load(text.replace("1e-", "1.0e-"))["trials"]["total_trials"]
    text = text.replace("poll_floor: 60s", "poll_floor: 1s")
    copy.write_text(text.replace(f"total_trials: {total}", "total_trials: 3"))
    run = [sys.executable, "-P", "-c", "from scheduler.cli import main; main()", "run", str(copy)]
    with backend(path.name) as world:
        env = {**world, "PATH": f"{Path(sys.executable).parent}:{world['PATH']}"}
        done = subprocess.run(
            run, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "3 trials (3 completed)" in done.stdout
