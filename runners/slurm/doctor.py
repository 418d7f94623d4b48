"""What ``schedd doctor`` says of a cluster: what works, and what to set where it does not."""

import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence

from runners.base import Unavailable
from runners.slurm.cluster import Cluster
from runners.slurm.options import SlurmOptions

_COMMANDS = ("sbatch", "squeue", "scancel", "scontrol")
_SHARED = re.compile(
    r"nfs\d?|lustre|gpfs|beegfs|ceph|cifs|smb3|9p|afs|glusterfs|fuse\..*|wekafs|panfs|pvfs2|orangefs"
)
Finding = tuple[bool, str]


def findings(cluster: Cluster, options: SlurmOptions) -> Sequence[Finding]:
    """Return (works, one sentence) for each thing that the runner needs."""
    commands = [_command(cluster, name) for name in _COMMANDS]
    if not all(works for works, _ in commands):
        return commands
    answers, config = _controller(cluster)
    if not config:
        return [*commands, answers]
    return [
        *commands,
        answers,
        *_times(config, options),
        _accounts(cluster),
        _python(cluster, options),
        *_folder(cluster),
    ]


def _command(cluster: Cluster, name: str) -> Finding:
    try:
        answer = cluster.call([name, "--version"])
    except Unavailable as error:
        return False, str(error)
    if answer.status != 0:
        return False, f"{name} does not work: {answer.sentence}"
    return True, f"{name} is {answer.out.strip()[:60]}"


def _controller(cluster: Cluster) -> tuple[Finding, dict[str, str]]:
    answer = cluster.call(["scontrol", "show", "config"])
    config = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", answer.out, re.MULTILINE))
    if answer.status != 0 or "ClusterName" not in config:
        return (False, f"slurmctld does not answer: {answer.sentence}"), {}
    return (True, f"slurmctld of cluster {config['ClusterName']} answers"), config


def _times(config: dict[str, str], options: SlurmOptions) -> Iterator[Finding]:
    """Yield whether jobs stay in the queue for long enough, and can end in time."""
    kept, kill = (_seconds(config.get(name, "")) for name in ("MinJobAge", "KillWait"))
    floor, grace = options.poll_floor, options.term_grace
    if kept is not None:
        text = f"ended jobs stay in the queue for {kept} s (MinJobAge)"
        ok = kept >= 2 * floor
        yield ok, text if ok else f"{text}: set poll_floor to at most {kept / 2:g}s"
    if kill is not None:
        ok = grace < kill
        text = f"a command has {min(grace, kill):g} s to end after SIGTERM"
        yield ok, text if ok else f"{text}, then Slurm kills: set term_grace below {kill}s"


def _seconds(text: str) -> int | None:
    match = re.match(r"(\d+)", text)
    return int(match[1]) if match else None


def _accounts(cluster: Cluster) -> Finding:
    try:
        answer = cluster.call(["sacct", "--allocations", "--noheader", "-S", "now-1minutes"])
    except Unavailable:
        return True, "there is no sacct; the queue alone tells of jobs that left no record"
    if answer.status == 0:
        return True, "accounting answers"
    if "disabled" in answer.err:
        return True, "accounting is off; the queue alone tells of jobs that left no record"
    return False, f"accounting does not answer: {answer.sentence}"


def _python(cluster: Cluster, options: SlurmOptions) -> Finding:
    python = options.python or sys.executable
    try:
        answer = cluster.call([python, "-ISB", "-c", "import sys; print(sys.version_info[:2])"])
    except Unavailable as error:
        return False, f"{error}; set python: to one that the nodes have"
    match = re.search(r"\((\d+), (\d+)\)", answer.out)
    if answer.status != 0 or match is None:
        return False, f"{python} does not work: {answer.sentence}"
    version = int(match[1]), int(match[2])
    text = f"{python} is Python {version[0]}.{version[1]} here, and must be on the nodes too"
    return version >= (3, 9), text


def _folder(cluster: Cluster) -> Iterator[Finding]:
    """Yield whether the present folder may be one that the nodes see."""
    here = os.getcwd()
    kind = _filesystem(here)
    answer = cluster.call(["sinfo", "--noheader", "--Node", "-O", "NodeHost:"])
    hosts = {word.strip().split(".")[0] for word in answer.out.splitlines() if word.strip()}
    if answer.status != 0 or _SHARED.fullmatch(kind) or hosts == {platform.node().split(".")[0]}:
        yield True, f"{here} lies on {kind}; trials must lie where the nodes see them"
        return
    yield False, f"{here} lies on {kind}, a disk of this machine alone: set runner.trials_dir"


def _filesystem(path: str) -> str:
    """Return the type of the filesystem that ``path`` lies on."""
    best, kind = "", "an unknown filesystem"
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        for row in mounts:
            _, at, name, *_ = row.split(" ")
            at = at.replace("\\040", " ")
            inside = at in ("/", path) or path.startswith(f"{at}/")
            if inside and len(at) >= len(best):
                best, kind = at, name
    return kind
