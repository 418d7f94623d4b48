"""A third party's distribution: modules in a folder, and the entry points that name them."""

import os
from pathlib import Path


def install(
    folder: Path, generators: str = "", runners: str = "", metrics: str = "", **modules: str
) -> dict[str, str]:
    """Write the distribution; return the environment of a process that finds it.

    ``generators``, ``runners``, ``metrics``: lines of entry points, as ``name = module:Class``.
    """
    info = folder / "third_party-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    groups = {"generators": generators, "runners": runners, "metrics": metrics}
    text = "".join(f"[schedd.{group}]\n{lines}\n" for group, lines in groups.items())
    (info / "entry_points.txt").write_text(text)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return {**os.environ, "PYTHONPATH": str(folder)}
