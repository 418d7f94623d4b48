"""The verb that makes schedd a service of systemd: it writes units, and says what they are for."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

import scheduler
from scheduler.cli import common, units
from scheduler.cli.refused import Refused
from scheduler.storage.engine import absolute, folder_of, shown

STATE = Path("/var/lib/schedd")
HOMES = (Path("/root"), Path("/home"), Path("/run/user"))
"""What ProtectHome= hides."""
OTHERS_MAY_ENTER = 0o001


@click.command()
@click.option("--user", is_flag=True, help="A service of your own, which needs no root.")
@click.option(
    "--no-local-trials", "narrow", is_flag=True, help="No trial runs here: a narrower sandbox."
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write below DIR, to look at it.",
)
@click.option("--force", is_flag=True, help="Overwrite what differs.")
@common.storage_option
def install_service(
    user: bool, narrow: bool, root: Path | None, force: bool, storage: str | None
) -> None:
    """Run schedd as a service of systemd: write its units.

    For the whole machine, in /etc/systemd/system: a daemon that runs as the user schedd, one for
    each user who wants it, and a timer that ticks without a daemon. With --user for you alone.
    Starts nothing; says what was written, and the commands that come next.

    A storage whose URL has a password does not go into a unit, which everybody may read.
    """
    if user and narrow:
        raise click.UsageError("--no-local-trials narrows the machine's service, not a user's")
    url = storage or os.environ.get("SCHEDD_STORAGE") or (_own_storage() if user else None)
    filling = units.Filling(_program(), *_stored(url, user=user))
    if root is None:
        _check(filling, user=user)
    place = _place(user=user, root=root)
    purposes = {**(units.USER if user else units.SYSTEM), **(units.NARROWED if narrow else {})}
    files = {place / name: units.unit(name, filling, user=user) for name in purposes}
    unwanted = () if narrow or user else (place / units.NARROW,)
    if not user:
        users = units.TEMPLATES / "schedd.sysusers.conf"
        files[place.parents[1] / "sysusers.d/schedd.conf"] = users.read_text()
    _write(files, unwanted, force=force)
    if user and root is None and not storage:
        _own_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    _explain(place, purposes, filling, user=user)


# -- what the units will say


def _program() -> Path:
    """Return where the script schedd of this installation is."""
    beside = Path(sys.executable).with_name("schedd")
    found = beside if beside.is_file() else shutil.which("schedd")
    if found is None:
        raise Refused(f"there is no script schedd beside {sys.executable}; pip install schedd")
    return Path(found).absolute()


def _own_folder() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(home, "schedd")


def _own_storage() -> str:
    return f"sqlite:///{_own_folder()}/schedd.db"


def _stored(url: str | None, *, user: bool) -> tuple[str | None, Path | None]:
    """Return the URL as a unit has it, and the folder that it makes the service write to."""
    if url is None:
        return None, None
    if "***" in shown(url) or "password=" in url:
        secret = "~/.pgpass" if user else "/etc/credstore/schedd.storage"
        raise Refused(
            f"everybody may read a unit, so no password goes into one: write the "
            f"{'password' if user else 'URL'} into {secret}, mode 0600, and leave it out of "
            f"--storage and $SCHEDD_STORAGE"
        )
    folder = folder_of(url)
    return absolute(url), None if user or folder == STATE else folder


# -- whether that can work


def _check(filling: units.Filling, *, user: bool) -> None:
    """Raise Refused where a service of this kind could not run what it should."""
    if user:
        return
    if os.geteuid() != 0:
        sudo = f"sudo {filling.program} install-service"
        raise Refused(f"only root makes a service for the machine: {sudo}; or take --user")
    for path in (filling.program, Path(sys.executable), Path(scheduler.__file__)):
        if closed := _closed(Path(path).resolve()):
            raise Refused(
                f"the service runs as the user schedd, who cannot read {closed}: install schedd "
                "in /opt/schedd, for example (python3 -m venv /opt/schedd), or take --user"
            )
    if filling.writes is not None and (closed := _closed(Path(filling.writes))):
        raise Refused(f"the service cannot keep its storage in {closed}, which it does not see")


def _closed(path: Path) -> Path | None:
    """Return what of ``path`` the service cannot enter; ``None`` where it can."""
    for each in (*reversed(path.parents), path):
        if each in HOMES or (each.is_dir() and not each.stat().st_mode & OTHERS_MAY_ENTER):
            return each
    return None


# -- writing


def _place(*, user: bool, root: Path | None) -> Path:
    """Return the folder in which systemd looks for units of this kind."""
    if user:
        config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        place = Path(config, "systemd/user")
    else:
        place = Path("/etc/systemd/system")
    return place if root is None else root.absolute() / place.relative_to("/")


def _write(files: Mapping[Path, str], unwanted: Sequence[Path], *, force: bool) -> None:
    """Write what is not there already; write nothing, and raise Refused, where it differs."""
    differ = [path for path, text in files.items() if path.exists() and path.read_text() != text]
    differ += [path for path in unwanted if path.exists()]
    if differ and not force:
        listed = ", ".join(map(str, differ))
        raise Refused(
            f"nothing was written, since there is another {listed}; --force replaces it. Changes "
            "of your own belong beside a unit, where they stay: systemctl edit schedd"
        )
    for path in unwanted:
        path.unlink(missing_ok=True)
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.new")
        aside.write_text(text)
        aside.chmod(0o644)
        aside.replace(path)


# -- saying what comes next


def _explain(
    place: Path, purposes: Mapping[str, str], filling: units.Filling, *, user: bool
) -> None:
    width = max(map(len, purposes))
    click.echo(f"wrote in {place}:")
    for name, purpose in purposes.items():
        click.echo(f"  {name:{width}}  {purpose}")
    steps = _steps_of_user(filling) if user else _steps_of_root(filling)
    click.echo("\nnext:")
    for command, why in steps:
        click.echo(f"  {command}\n      {why}")


def _steps_of_root(filling: units.Filling) -> Iterator[tuple[str, str]]:
    url = filling.storage or f"sqlite:///{STATE}/schedd.db"
    yield "systemd-sysusers schedd.conf", "make the user schedd, once"
    yield "systemctl daemon-reload", "let systemd read the units"
    yield "systemctl enable --now schedd", "start the daemon, now and at each boot"
    yield "systemctl enable --now schedd-tick.timer", "or, without a daemon, tick every minute"
    yield "journalctl -u schedd -f", "watch it"
    submit = shlex.join([str(filling.program), "submit", "FILE", "--storage", url])
    yield f"runuser -u schedd -- {submit}", "hand it an experiment, whose files schedd can read"


def _steps_of_user(filling: units.Filling) -> Iterator[tuple[str, str]]:
    yield "systemctl --user daemon-reload", "let systemd read the units"
    yield "systemctl --user enable --now schedd", "start the daemon, now and when you log in"
    yield (
        "systemctl --user enable --now schedd-tick.timer",
        "or, without a daemon, tick each minute",
    )
    yield "loginctl enable-linger", "let it go on when you log out, and start at each boot"
    yield "journalctl --user -u schedd -f", "watch it"
    yield (
        f"export SCHEDD_STORAGE={shlex.quote(str(filling.storage))}",
        "let your shell see the same",
    )
    yield f"{shlex.quote(str(filling.program))} submit FILE", "hand it an experiment"
