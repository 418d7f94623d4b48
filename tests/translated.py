"""Files of other tools, and what comes of them."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scheduler.translate.assemble import Assembled, assemble
from scheduler.translate.recognize import format_of, translate

GOLDEN = Path(__file__).parent / "golden/imports"
CASES = {
    "ax": ("ax.json", None),
    "ax-front": ("ax-front.json", None),
    "ax-sum": ("ax-sum.json", None),
    "ax-0.5": ("ax-0.5.json", None),
    "ax-0.5-curves": ("ax-0.5-curves.json", None),
    "optuna": ("optuna.db", "My Net"),
    "optuna-front": ("optuna.db", "front"),
    "katib": ("katib.yaml", None),
    "wandb": ("wandb.yaml", None),
    "nni": ("nni/config.yml", None),
    "nni-1": ("nni/config-1.yml", None),
}
"""By name: the file, and the study in it."""


def make_optuna(file: Path) -> Path:
    """Make the storage of Optuna that golden/imports/make.py has written as SQL."""
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((GOLDEN / "optuna.sql").read_text())
    return file


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def imported(name: str) -> Assembled:
    """Return what comes of a case, its file named relative to where it lies."""
    file, study = CASES[name]
    with TemporaryDirectory() as folder:
        made = file == "optuna.db"
        if made:
            make_optuna(Path(folder) / file)
        with inside(Path(folder) if made else GOLDEN):
            found = translate(file, format_of(file), study)
            return assemble(found, file, Path("out.yaml"), Path("out.history.csv"))
