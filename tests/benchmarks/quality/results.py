"""Files of results: one line of JSON a run, only ever appended to; the last of equals counts."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
Record = Mapping[str, Any]
Key = tuple[str, str, str, int]
"""System, problem, mode, seed."""


def key_of(record: Record) -> Key:
    return record["system"], record["problem"], record["mode"], record["seed"]


def read(*paths: Path) -> dict[Key, Record]:
    """Return the runs in the files that exist, by what was run."""
    return {key_of(record): record for path in paths for record in _records(path)}


def _records(path: Path) -> Iterator[Record]:
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue  # a process was killed while it wrote; its run is done again


def append(path: Path, record: Record) -> None:
    """Add a run; whole even where several processes write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"
    if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        line = "\n" + line
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def tidy(path: Path, records: Iterable[Record]) -> None:
    """Write ``records`` as the whole file, in order, one for each run."""
    by_key = {key_of(record): record for record in records}
    lines = [json.dumps(by_key[key], separators=(",", ":")) for key in sorted(by_key)]
    path.write_text("".join(line + "\n" for line in lines))


def missing(
    path: Path, wanted: Iterable[tuple[Key, str]], *, any_version: bool = False
) -> list[Key]:
    """Return those of ``wanted``, (run, version), that the file lacks in that version."""
    there = read(path)
    return [
        key
        for key, version in wanted
        if key not in there or not (any_version or there[key]["version"] == version)
    ]


def numbers(text: str) -> list[int]:
    """Return the seeds that ``0-4,7`` names."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main() -> None:
    """Take the runs in the files named on the command line over, a file for each system."""
    new = read(*map(Path, sys.argv[1:]))
    for system in sorted({key[0] for key in new}):
        path = FOLDER / f"{system}.jsonl"
        runs = read(path) | {key: record for key, record in new.items() if key[0] == system}
        tidy(path, runs.values())
        print(f"{len(runs)} runs in {path}")


if __name__ == "__main__":
    main()
