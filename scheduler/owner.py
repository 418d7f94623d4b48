"""To whom a folder of trials belongs: a note in it, so that two experiments never share one.

Trials of both would have the same folders, and each would find the other's jobs in its own.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

from scheduler.rubbish import OWNER
from scheduler.storage.errors import StorageError
from scheduler.storage.store import Experiment

MAX_NOTE = 65536


class FolderTaken(StorageError):
    """The trials' folder belongs to another experiment."""


def check(root: Path, token: str = "") -> None:
    """Return where the folder is nobody's, or of the experiment with ``token``.

    Raises FolderTaken otherwise.
    """
    owner = _read(root)
    if owner and owner["token"] != token:
        raise FolderTaken(
            f"{root} holds the trials of another experiment, {owner['experiment']} in "
            f"{owner['storage']}; give this one a folder of its own (runner.trials_dir), or "
            "remove that one if it is not needed any more"
        )


def claim(experiment: Experiment, storage: str) -> None:
    """Note in the trials' folder whose it is; ``storage`` is shown to people. Raises FolderTaken.

    Where that cannot be written, trials cannot either, and whoever deploys them says why.
    """
    root, token = experiment.trials_dir, experiment.token
    check(root, token)
    note = {"experiment": experiment.definition.name, "storage": storage, "token": token}
    aside = root / f"{OWNER}.{os.getpid()}"
    with suppress(OSError):
        if (root / OWNER).exists():
            return
        root.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(note), encoding="utf-8")
        try:
            (root / OWNER).hardlink_to(aside)
        finally:
            aside.unlink()
    check(root, token)  # somebody may have been faster


def _read(root: Path) -> dict[str, str] | None:
    """Return the note; ``None`` where there is none that makes sense."""
    with suppress(OSError, ValueError), (root / OWNER).open(encoding="utf-8") as file:
        found = json.loads(file.read(MAX_NOTE))
        wanted = ("experiment", "storage", "token")
        if isinstance(found, dict) and all(isinstance(found.get(key), str) for key in wanted):
            return found
    return None
