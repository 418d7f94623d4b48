"""A real systemd as process 1 of a machine of its own, up in a second: for tests. Needs root.

The box sees this machine's files as they were and throws away what it writes. It has a Python and
a schedd that every user of its can read, in /opt/schedd, wherever those of the tests are.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

from services.service import Service

import scheduler

_SCRIPT = Path(__file__).with_name("systemd-box.sh")
_INIT = "/lib/systemd/systemd"
_PROGRAMS = ("unshare", "nsenter", "setpriv", "ip", "systemctl", "journalctl")
PYTHON = "/opt/python"
SCHEDD = "/opt/schedd/bin/schedd"


@cache
def why_not() -> str:
    """Return why no systemd can be had here; empty where one can."""
    if os.geteuid() != 0:
        return "no systemd of our own: only root can start one"
    if not os.access(_INIT, os.X_OK) or not all(map(shutil.which, _PROGRAMS)):
        return f"no systemd of our own: {_INIT} or one of {', '.join(_PROGRAMS)} is missing"
    if not _cgroups():
        return "no systemd of our own: control groups of version 2 are not mounted"
    words = ("unshare", "--mount", "--pid", "--fork", "--net", "mount", "-t", "tmpfs", "x", "/mnt")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return f"no systemd of our own: {done.stderr.strip()}" if done.returncode else ""


def _cgroups() -> Path | None:
    """Return this process's group of version 2."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    at = next((fields[1] for fields in mounts if fields[2] == "cgroup2"), None)
    groups = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line[3:] for line in groups if line.startswith("0::")), "/")
    return Path(at + own) if at else None


class Box:
    """One machine; it ends with the process that started it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="systemd-box-"))
        above = _cgroups()
        assert above is not None
        self._cgroup = above / self.folder.name
        log = Path(f"{self.folder}.log")
        words = ["bash", str(_SCRIPT), str(self.folder), str(self._cgroup), *_mounts()]
        self._service = Service("systemd", self.folder, log, words, os.environ)
        self._pid = ""

    def start(self) -> None:
        """Wait until it is up, and put schedd into it. Raises NotReady."""
        self._service.await_ready(self._is_up)
        self.run("sh", "-c", f"echo {PYTHON}/lib > /etc/ld.so.conf.d/box.conf; ldconfig")
        _install(self.path("/opt/schedd"))

    def close(self) -> None:
        """Kill it with all that is in it."""
        self._service.close()
        for group in sorted(self._cgroup.rglob("*/"), reverse=True):
            if group.is_dir():
                group.rmdir()
        self._cgroup.rmdir()
        self._service.log.unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    def path(self, path: str) -> Path:
        """Return where a path of the box is, seen from here."""
        return Path(f"/proc/{self._pid}/root{path}")

    def do(self, *words: str, **kept: str) -> subprocess.CompletedProcess[str]:
        """Run a command as root of the box, with the environment ``kept`` and no other."""
        enter = ("nsenter", "--target", self._pid, "--all", "--root", "--wd", "--")
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **kept}
        return subprocess.run(
            [*enter, *words], env=env, capture_output=True, text=True, timeout=120, check=False
        )

    def run(self, *words: str, **kept: str) -> str:
        """Run a command that must succeed; return what it prints, stripped."""
        done = self.do(*words, **kept)
        assert done.returncode == 0, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit)

    def journal(self, unit: str) -> str:
        """Return what a unit, and systemd of it, has logged."""
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit)

    def _is_up(self) -> bool:
        self._pid = self._pid or self._process_1()
        if not self._pid:
            return False
        said = self.do("systemctl", "is-system-running").stdout.strip()
        return said in ("running", "degraded")

    def _process_1(self) -> str:
        """Return the pid, as we see it, of the process that is 1 in the box."""
        for name in (self._cgroup / "cgroup.procs", self._cgroup / "init.scope/cgroup.procs"):
            with suppress(FileNotFoundError):  # not there yet, or not any more
                for pid in name.read_text().split():
                    if _is_process_1(Path("/proc", pid)):
                        return pid
        return ""


def _is_process_1(place: Path) -> bool:
    status = (place / "status").read_text().splitlines()
    own = next(line for line in status if line.startswith("NSpid")).split()[-1]
    return own == "1" and b"systemd" in (place / "cmdline").read_bytes().split(b"\0")[0]


def _packages() -> list[str]:
    """Return the folders in which this Python finds what is installed."""
    return [path for path in sys.path if path.endswith("-packages") and Path(path).is_dir()]


def _mounts() -> list[str]:
    found = [(sys.base_prefix, PYTHON)]
    found += [(path, f"/opt/packages/{i}") for i, path in enumerate(_packages())]
    return [f"{source}:{target}" for source, target in found]


def _install(place: Path) -> None:
    """Make what a virtual environment with schedd is; copies are quicker than pip."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (place / "bin").mkdir(parents=True)
    (place / "bin/python").symlink_to(f"{PYTHON}/bin/{version}")
    (place / "pyvenv.cfg").write_text(f"home = {PYTHON}/bin\n")
    packages = place / "lib" / version / "site-packages"
    root = Path(scheduler.__file__).parents[1]
    for name in ("scheduler", "runners", "metrics"):
        shutil.copytree(root / name, packages / name)
    facts = distribution("schedd").locate_file(
        f"schedd-{distribution('schedd').version}.dist-info"
    )
    shutil.copytree(str(facts), packages / Path(str(facts)).name)
    shared = "".join(f"/opt/packages/{i}\n" for i in range(len(_packages())))
    (packages / "shared.pth").write_text(shared)
    script = place / "bin/schedd"
    script.write_text("#!/opt/schedd/bin/python\nfrom scheduler.cli import main\nmain()\n")
    script.chmod(0o755)


@contextmanager
def box() -> Iterator[Box]:
    """Start a machine; end it, with all that is in it, on leaving."""
    made = Box()
    try:
        made.start()
        yield made
    finally:
        made.close()
