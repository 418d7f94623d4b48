"""The units of systemd as they are written on this machine: whose program, and which storage."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from scheduler.cli.refused import Refused

TEMPLATES = Path(__file__).parents[1] / "units"
"""The folder ``systemd/`` of the sources: whole units, of a schedd in /opt/schedd."""
NARROW = "schedd.service.d/no-local-trials.conf"
SYSTEM: Mapping[str, str] = {
    "schedd.service": "the daemon: it drives every experiment in its storage",
    "schedd@.service": "a user's own daemon, started by root: schedd@alice",
    "schedd-tick.service": "one tick of every experiment, without a daemon",
    "schedd-tick.timer": "that tick, every minute, as from cron",
}
USER: Mapping[str, str] = {
    "schedd.service": SYSTEM["schedd.service"],
    "schedd-tick.service": SYSTEM["schedd-tick.service"],
    "schedd-tick.timer": SYSTEM["schedd-tick.timer"],
}
NARROWED: Mapping[str, str] = {NARROW: "a narrower sandbox for the daemon: no local trials"}
_PROGRAM = "/opt/schedd/bin/schedd"
_STORAGE = "Environment=SCHEDD_STORAGE="
_ONE_STORAGE = ("schedd.service", "schedd-tick.service")
"""Those of schedd@.service are its users'."""


@dataclass(frozen=True, slots=True)
class Filling:
    """What the units of one machine say."""

    program: PurePath
    storage: str | None = None
    """A URL without a password; ``None`` for the unit's own, in its state directory."""
    writes: PurePath | None = None
    """The folder of a storage that lies outside of the state directory."""


def unit(name: str, filling: Filling, *, user: bool) -> str:
    """Return the text of one unit. Raises Refused where a path cannot stand in a unit."""
    folder = TEMPLATES / "user" if user and name.endswith(".service") else TEMPLATES
    text = (folder / name).read_text()
    text = text.replace(f"={_PROGRAM} ", f"={quoted(str(filling.program))} ")
    if filling.storage is None or name not in _ONE_STORAGE:
        return text
    stored = "Environment=" + quoted(f"SCHEDD_STORAGE={filling.storage}")
    if filling.writes is not None:
        stored += f"\nReadWritePaths={quoted(f'-{filling.writes}')}"
    lines = (stored if line.startswith(_STORAGE) else line for line in text.splitlines())
    return "\n".join(lines) + "\n"


def quoted(value: str) -> str:
    """Return a value as systemd reads one word; see systemd.syntax(7)."""
    if not value.isprintable():
        raise Refused(f"{value!r} cannot stand in a unit of systemd")
    value = value.replace("%", "%%")
    if not set(value) & set(" \"'\\"):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
