"""A third party's distribution: modules in a folder, and the entry points that name them."""

import os
from pathlib import Path


def install(folder: Path, generators: str, **modules: str) -> dict[str, str]:
    """Write the distribution; return the environment of a process that finds it.

    ``generators``: lines of entry points, as ``name = module:Class``.
    """
    info = folder / "third_party-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[schedd.generators]\n{generators}\n")
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return {**os.environ, "PYTHONPATH": str(folder)}
