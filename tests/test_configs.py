"""Every file in configs/ loads, and runs three trials with what it names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scheduler import registry
from scheduler.config.load import load_file

CONFIGS = Path(__file__).parent.parent / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_it_runs_three_trials(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the examples train scikit-learn models")
    copy = shutil.copytree(CONFIGS, tmp_path / "configs") / path.name
    assert load_file(copy, registry).trials.total_trials > 3
    text = copy.read_text()
    total = yaml.safe_load(text.replace("1e-", "1.0e-"))["trials"]["total_trials"]
    copy.write_text(text.replace(f"total_trials: {total}", "total_trials: 3"))
    binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from scheduler.cli import main; main()", "run", str(copy)],
        cwd=tmp_path,
        env={**os.environ, "PATH": binaries},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "3 trials (3 completed)" in done.stdout
