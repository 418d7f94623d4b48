"""A private, real Slurm on 127.0.0.1, in a temporary folder, up in a second: for tests.

Daemons are those of Debian's packages, run by whoever runs the tests; several clusters at once do
not meet. With accounting there are also a MariaDB and slurmdbd, which take some seconds.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from getpass import getuser
from pathlib import Path

from services.debian import PATH, lacking
from services.ports import Ports
from services.service import Service

_CORE = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
}
_ACCOUNTING = {
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
}
_NODE_IS_UP = {"idle", "mixed", "allocated", "completing"}


def why_not(*, accounting: bool = False) -> str:
    """Return why no Slurm can be had here, after an attempt to install it; empty where one can."""
    missing = lacking(_CORE | _ACCOUNTING if accounting else _CORE)
    if missing:
        return f"no Slurm: {missing}"
    if _own_address().startswith("127.") or _own_name():
        return ""
    host = socket.gethostname()
    return f"no Slurm: put '127.0.0.1 {host}' first in /etc/hosts, {host} is at {_own_address()!r}"


def _memory() -> str | None:
    """Return a folder in memory where programs may lie, as jobs' scripts do."""
    place = "/dev/shm"
    if not os.access(place, os.W_OK) or os.statvfs(place).f_flag & os.ST_NOEXEC:
        return None
    return place


@cache
def _own_address() -> str:
    """Return where this host's name leads: daemons listen there."""
    try:
        return socket.gethostbyname(_host())
    except OSError:
        return ""


def _host() -> str:
    return socket.gethostname().partition(".")[0]


@cache
def _own_name() -> tuple[str, ...]:
    """Return words that start a command on a host named localhost, where that is possible."""
    words = ("unshare", "--uts", "sh", "-c", 'hostname localhost && exec "$0" "$@"')
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("hostname") is None:
        return ()
    return () if subprocess.run([*words, "true"], check=False).returncode else words


class Slurm:
    """One cluster: its daemons are ``munged``, ``slurmctld``, the nodes ``n1`` to ``nN``, and
    with accounting ``mariadbd`` and ``slurmdbd``.
    """

    def __init__(self, *, nodes: int = 2, accounting: bool = False, **keys: object) -> None:
        """Make its folder; start nothing. ``keys`` are lines of slurm.conf."""
        self.nodes = [f"n{i + 1}" for i in range(nodes)]
        self.accounting = accounting
        # Short, since the path of a UNIX socket has at most 108 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir=_memory()))
        self.folder.chmod(0o755)
        self._ports = Ports()
        self._services: dict[str, list[Service]] = {}
        own = _own_address().startswith("127.")
        self._host, self._prefix = (_host(), ()) if own else ("localhost", _own_name())
        self.partitions = {"main": "Default=YES DefMemPerCPU=100"}
        """Over all nodes; to be changed before :meth:`start`."""
        self._keys = _keys(self) | {name: str(value) for name, value in keys.items()}
        for name in ("state", "spool", "log", "run"):
            (self.folder / name).mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))}
        self.env = kept | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": PATH}
        """What a client needs to talk to this cluster, and no other."""

    # -- the whole

    def start(self) -> None:
        """Start what is not running; on return the nodes take jobs. Raises NotReady."""
        self._write()
        self.begin("munged")
        if self.accounting:
            self._start_accounting()
        self.begin("slurmctld")
        for node in self.nodes:
            self.begin(node)

    def close(self) -> None:
        """End all of it and remove its folder."""
        for name in reversed(list(self._services)):
            self._close(name)
        self._ports.close()
        shutil.rmtree(self.folder)

    def power_cut(self) -> None:
        """Kill every daemon and job at once; :meth:`start` is the power's return."""
        for service in self._every():
            service.sweep()

    # -- one daemon

    def begin(self, name: str) -> None:
        """Start a daemon unless it runs, and wait until it is ready. Raises NotReady."""
        if not self.runs(name):
            words = [*self._prefix, *self._command(name)]
            log = self.folder / "log" / f"{name}.out"
            service = Service(name, self.folder, log, words, self.env)
            self._services.setdefault(name, []).append(service)
        self._services[name][-1].await_ready(self._is_ready(name))

    def runs(self, name: str) -> bool:
        return name in self._services and self._services[name][-1].is_alive

    def pid(self, name: str) -> int:
        return self._services[name][-1].pid

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End a daemon; a node's jobs go on."""
        self._services[name][-1].end(number)

    def kill(self, name: str) -> None:
        """End a daemon by SIGKILL; a node's jobs go on."""
        self.end(name, signal.SIGKILL)

    def crash(self, name: str) -> None:
        """Kill a daemon with everything it started: a node with its jobs."""
        for service in self._services[name]:
            service.sweep()

    def freeze(self, name: str) -> None:
        """Stop a daemon: it answers nothing until :meth:`thaw`."""
        self._services[name][-1].signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self._services[name][-1].signal(signal.SIGCONT)

    def restart(self, name: str) -> None:
        self.end(name)
        self.begin(name)

    def forget(self) -> None:
        """Lose the controller's memory, as an administrator with ``slurmctld -c`` and a new disk.

        Job ids start at 1 again.
        """
        self.end("slurmctld")
        shutil.rmtree(self.folder / "state")
        (self.folder / "state").mkdir()
        self.begin("slurmctld")

    def set(self, **keys: object) -> None:
        """Change lines of slurm.conf in the running cluster."""
        self._keys |= {name: str(value) for name, value in keys.items()}
        self._write()
        self.run("scontrol", "reconfigure")

    # -- a client

    def run(self, *words: str, check: bool = True) -> str:
        """Run a command with this cluster's environment; return what it prints, stripped."""
        done = subprocess.run(
            words, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    # -- how it is made

    def _every(self) -> Iterator[Service]:
        for services in self._services.values():
            yield from services

    def _close(self, name: str) -> None:
        for service in self._services.pop(name):
            service.close()

    def _write(self) -> None:
        lines = [f"{name}={value}" for name, value in self._keys.items()]
        for node, port in zip(self.nodes, self._ports.numbers[4:], strict=False):
            at = f"NodeHostname={self._host} NodeAddr=127.0.0.1 Port={port}"
            lines.append(f"NodeName={node} {at} CPUs=4 RealMemory=4000")
            (self.folder / "spool" / node).mkdir(exist_ok=True)
        lines += [
            f"PartitionName={name} Nodes=ALL {rest}" for name, rest in self.partitions.items()
        ]
        (self.folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        # Nothing here uses cgroups; this only keeps slurmd from looking for them.
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        key = self.folder / "munge.key"
        if not key.exists():
            key.touch(0o600)
            key.write_bytes(secrets.token_bytes(128))

    def _command(self, name: str) -> Sequence[str]:
        run, log = self.folder / "run", self.folder / "log"
        if name == "munged":
            return (
                *("munged", "--foreground", "--force", f"--key-file={self.folder}/munge.key"),
                *(f"--socket={run}/munge.socket", f"--pid-file={run}/munged.pid"),
                *(f"--log-file={log}/munged.log", f"--seed-file={self.folder}/munge.seed"),
            )
        if name == "mariadbd":
            return (
                *("mariadbd", *self._database(), f"--pid-file={run}/mariadbd.pid"),
                *("--bind-address=127.0.0.1", f"--port={self._ports.numbers[2]}"),
                *(f"--socket={run}/my.sock", "--skip-name-resolve"),
            )
        return (name, "-D") if name not in self.nodes else ("slurmd", "-D", "-N", name)

    def _is_ready(self, name: str) -> Callable[[], bool]:
        socket_, my = self.folder / "run/munge.socket", self.folder / "run/my.sock"
        asked: dict[str, Callable[[], bool]] = {
            "munged": lambda: self._says("munge", "-n", "-S", str(socket_)) != "",
            "mariadbd": lambda: self._says(*_sql(my, "select 1")) != "",
            "slurmdbd": lambda: self._answers("sacctmgr", "-n", "list", "cluster"),
            "slurmctld": lambda: "is UP" in self._says("scontrol", "ping"),
        }
        return asked.get(name, lambda: self._says("sinfo", "-hn", name, "-o%T") in _NODE_IS_UP)

    def _says(self, *words: str) -> str:
        return self.run("timeout", "5", *words, check=False)

    def _answers(self, *words: str) -> bool:
        done = subprocess.run(
            ["timeout", "5", *words], env=self.env, capture_output=True, check=False
        )
        return done.returncode == 0

    def _database(self) -> Sequence[str]:
        at = f"--datadir={self.folder}/db"
        return ("--no-defaults", f"--user={getuser()}", at, "--innodb-flush-method=nosync")

    def _start_accounting(self) -> None:
        if not (self.folder / "db").exists():
            kind = ("--auth-root-authentication-method=normal", "--skip-test-db")
            self.run("mariadb-install-db", *self._database(), *kind)
        self.begin("mariadbd")
        grant = "grant all on slurm.* to slurm@'127.0.0.1' identified by 'slurm'"
        sql = f"create database if not exists slurm; {grant}"
        self.run(*_sql(self.folder / "run/my.sock", sql))
        self._write_slurmdbd()
        self.begin("slurmdbd")
        if not self.run("sacctmgr", "-n", "list", "cluster", "test"):
            self.run("sacctmgr", "-i", "add", "cluster", "test")

    def _write_slurmdbd(self) -> None:
        run = self.folder / "run"
        values = {
            "DbdHost": "localhost",
            "DbdAddr": "127.0.0.1",
            "DbdPort": self._ports.numbers[1],
            "SlurmUser": getuser(),
            "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
            "AuthInfo": f"socket={run}/munge.socket",
            "PidFile": f"{run}/slurmdbd.pid",
            "LogFile": f"{self.folder}/log/slurmdbd.log",
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "127.0.0.1",
            "StoragePort": self._ports.numbers[2],
            "StorageUser": "slurm",
            "StoragePass": "slurm",
            "StorageLoc": "slurm",
        }
        path = self.folder / "slurmdbd.conf"
        path.touch(0o600)
        path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def _sql(at: Path, statement: str) -> Sequence[str]:
    return ("mariadb", "--no-defaults", "-u", "root", "-S", str(at), "-e", statement)


def _keys(cluster: Slurm) -> dict[str, str]:
    """Return the lines of slurm.conf that name no node and no partition."""
    at, ports = cluster.folder, cluster._ports.numbers
    storage = "slurmdbd" if cluster.accounting else "none"
    return {
        "ClusterName": "test",
        "SlurmctldHost": f"{cluster._host}(127.0.0.1)",
        "SlurmctldPort": str(ports[0]),
        "SlurmUser": getuser(),
        "SlurmdUser": getuser(),
        "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
        # The shorter a credential lives, the sooner a requeued job starts again.
        "AuthInfo": f"socket={at}/run/munge.socket,cred_expire=5",
        "StateSaveLocation": f"{at}/state",
        "SlurmdSpoolDir": f"{at}/spool/%n",
        "SlurmctldPidFile": f"{at}/run/slurmctld.pid",
        "SlurmdPidFile": f"{at}/run/slurmd-%n.pid",
        "SlurmctldLogFile": f"{at}/log/slurmctld.log",
        "SlurmdLogFile": f"{at}/log/slurmd-%n.log",
        "ProctrackType": "proctrack/linuxproc",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "1",
        "JobAcctGatherParams": "OverMemoryKill",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "SchedulerParameters": "batch_sched_delay=0,sched_interval=2,bf_interval=2",
        "JobCompType": "jobcomp/filetxt",
        "JobCompLoc": f"{at}/log/jobcomp.log",
        "AccountingStorageType": f"accounting_storage/{storage}",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": str(ports[1]),
        "AccountingStoragePass": f"{at}/run/munge.socket",
        # Nodes may say that they have more processors than this machine.
        "SlurmdParameters": "config_overrides",
        "SlurmdTimeout": "10",
        "ReturnToService": "2",
        "KillWait": "2",
    }


@contextmanager
def slurm(*, nodes: int = 2, accounting: bool = False, **keys: object) -> Iterator[Slurm]:
    """Start a cluster; end it with all its jobs on leaving."""
    cluster = Slurm(nodes=nodes, accounting=accounting, **keys)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
