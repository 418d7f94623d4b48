"""Speed side by side with the peers, in one run: ``make bench``.

    python tests/benchmarks/run.py [--quick] [--no-peers]
    python tests/benchmarks/run.py --generation [--runs]     only how good and how soon arms are

How good arms are is shown from files of results, for the runs take hours; ``--runs`` does those
that are missing or of older code first.

Ax and Optuna live in a venv of their own, ``.venv/peers``, made on first use. Every figure is of a
fresh process. Other work on the machine inflates CPU time too, so schedd's runs are repeated and
the least of each figure is taken; the peers run once, for they take minutes, so read their ratios
on a quiet machine. Exit status 1 where a target is missed.
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
VENV = HERE.parent.parent / ".venv" / "peers"
# torch is named, with its version, because without it pip may fetch gigabytes of CUDA.
PEERS = ("ax-platform==1.3.1", "optuna==5.0.0", "SQLAlchemy<2.2", "tabulate<1", "torch==2.13.0")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
Figures = dict[str, float]


@dataclass(frozen=True)
class Options:
    sizes: Sequence[int]
    peer_sizes: Sequence[int]
    repeat: int
    throughput: tuple[int, int]
    start: int


FULL = Options((50, 200, 1000, 5000), (50, 200, 1000), 3, (500, 3), 15)
QUICK = Options((200, 1000), (200,), 3, (200, 2), 5)


def main() -> int:
    parser = ArgumentParser(description="Measure schedd and its peers.")
    parser.add_argument("--quick", action="store_true", help="200 trials; minutes, not a quarter")
    parser.add_argument("--no-peers", action="store_true", help="install and run no peers")
    parser.add_argument("--generation", action="store_true", help="arms, and no more")
    parser.add_argument("--runs", action="store_true", help="do what is missing or of older code")
    arguments = parser.parse_args()
    options = QUICK if arguments.quick else FULL
    peers = None if arguments.no_peers else peers_python()
    say(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    met = generation(peers, runs=arguments.runs, stored=arguments.quick)
    if not arguments.generation:
        met += [*overhead(options, peers), *throughput(options), *start(options)]
    say(f"load average {os.getloadavg()[0]:.1f}; {sum(met)} of {len(met)} targets met")
    return 0 if all(met) else 1


def generation(peers: str | None, *, runs: bool, stored: bool) -> list[bool]:
    """Show how good arms are, how soon there, and how busy slots; return whether targets are met.

    ``runs``: do the runs that are missing; ``stored``: measure no latency or slots either.
    """
    if runs:
        quality(sys.executable, "ours", "--sobol")
        quality(sys.executable, "ours", "--jobs", str(os.cpu_count()))
        if peers:
            quality(peers, "peers", "optuna_tpe,optuna_gp,ax")
    how = ["--stored"] if stored else []
    shown = [["report"], ["latency", *how], ["slots", *how]]
    return [quality(sys.executable, *which) for which in shown]


def quality(python: str, module: str, *how: str) -> bool:
    """Run one of the programs in ``quality``, which prints what it finds."""
    command = [python, "-W", "ignore", "-m", f"quality.{module}", *how]
    environment = {**os.environ, **ONE_THREAD}
    return subprocess.run(command, cwd=HERE, env=environment, check=False).returncode == 0


def overhead(options: Options, peers: str | None) -> list[bool]:
    """Measure CPU per trial; return which targets were met."""
    say("\nCPU of the scheduler per trial, ms; instant trials, Sobol, SQLite, 10 in parallel")
    row("", "trials", "CPU", "first 50", "last 50", "wall", "imports s")
    ours = {n: show("schedd", least(n, options.repeat)) for n in options.sizes}
    show("schedd, each alone", least(1000, options.repeat, "apart"))
    theirs: dict[tuple[str, int], Figures] = {}
    for name, size in [(p, n) for n in options.peer_sizes for p in ("ax", "optuna")]:
        if peers:
            figures = run([peers, "peers_overhead.py", name, str(size)])
            theirs[name, size] = show(name, figures)
    met = []
    for (name, size), figures in theirs.items():
        factor = {("ax", 200): 20, ("ax", 1000): 50}.get((name, size))
        ratio = figures["cpu"] / ours[size]["cpu"] if size in ours else 0.0
        said = f"{name} needs {ratio:.0f} times our CPU at {size} trials"
        if factor is None:
            say(f"    {said}")
        else:
            met.append(target(said, f"at least {factor}", ratio >= factor))
    size = max(ours)
    rise = ours[size]["last"] / ours[size]["first"]
    said = f"the last 50 of {size} cost {rise:.2f} times the first 50"
    return [*met, target(said, "at most 1.3", rise <= 1.3)]


def least(trials: int, repeat: int, *how: str) -> Figures:
    """Return the least of each figure in several runs."""
    runs = [run([sys.executable, "overhead.py", str(trials), *how]) for _ in range(repeat)]
    return {name: min(figures[name] for figures in runs) for name in runs[0]}


def throughput(options: Options) -> list[bool]:
    trials, rounds = options.throughput
    say(f"\nTrials per second, a real process each ({trials} times true, 10 in parallel)")
    found = run([sys.executable, "throughput.py", str(trials), str(rounds)])
    share = found["schedd"] / found["xargs"]
    say(f"    schedd run {found['schedd']:.0f} ({found['whole']:.0f} with its start), ", end="")
    say(f"xargs -P10 with the same wrapper {found['xargs']:.0f}")
    say(f"    CPU a trial, the wrapper's too: schedd {found['schedd_cpu']:.1f} ms ", end="")
    say(f"with its start, xargs {found['xargs_cpu']:.1f} ms")
    return [target(f"schedd reaches {share:.0%} of xargs", "at least 40 %", share >= 0.4)]


def start(options: Options) -> list[bool]:
    say("\nStart")
    found = run([sys.executable, "startup.py", str(options.start)])
    ratio = found["help_ms"] / found["click_ms"]
    say(f"    schedd --help {found['help_ms']:.0f} ms of CPU, import click ", end="")
    say(f"{found['click_ms']:.0f} ms; schedd status {found['status_ms']:.0f} ms")
    say(f"    first trial after {found['first_trial_s']:.1f} s; daemon ", end="")
    say(f"{found['daemon_mib']:.0f} MiB, worker with a model {found['worker_mib']:.0f} MiB")
    say(f"    from scheduler import optimize {found['optimize_ms']:.0f} ms; a trial of a Client, ")
    say(f"    asked for and completed, {found['client_ms']:.0f} ms of CPU")
    heavy = ", ".join(found["status_imports"]) or "nothing heavy"
    early, torch = found["first_trial_before_torch"], found["daemon_has_torch"]
    return [
        target(f"schedd --help costs {ratio:.2f} times import click", "below 2", ratio < 2),
        target(
            f"from scheduler import optimize costs {found['optimize_ms']:.0f} ms of CPU",
            "below 300",
            found["optimize_ms"] < 300,
        ),
        target(f"schedd status imports {heavy}", "no numpy, no torch", heavy == "nothing heavy"),
        target(f"torch before the first trial: {yes(not early)}", "no", early),
        target(f"torch in the daemon's memory: {yes(torch)}", "no", not torch),
    ]


def peers_python() -> str | None:
    """Return the interpreter of the peers' venv, made if need be; None where it cannot be."""
    python, stamp = VENV / "bin" / "python", VENV / "installed.txt"
    wanted = "\n".join(PEERS)
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"installing {', '.join(PEERS)} into {VENV.relative_to(HERE.parent.parent)}")
        try:
            subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            say(f"the peers cannot be installed and are left out: {error}")
            return None
        stamp.write_text(wanted)
    return str(python)


def run(command: Sequence[str]) -> Figures:
    """Run one of the programs beside this one; return the figures in its last line."""
    program, script, *rest = command
    done = subprocess.run(
        [program, "-W", "ignore", HERE / script, *rest],
        env={**os.environ, **ONE_THREAD},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def show(name: str, figures: Figures) -> Figures:
    words = (f"{figures[key]:.2f}" for key in ("cpu", "first", "last", "wall", "imports_s"))
    row(name, f"{figures['trials']:.0f}", *words)
    return figures


def row(*cells: str) -> None:
    say(f"    {cells[0]:20}" + "".join(f"{cell:>10}" for cell in cells[1:]))


def target(said: str, wanted: str, met: bool) -> bool:
    say(f"{'ok ' if met else 'NO '} {said} ({wanted})")
    return met


def yes(fact: object) -> str:
    return "yes" if fact else "no"


def say(text: str, end: str = "\n") -> None:
    print(text, end=end, flush=True)


if __name__ == "__main__":
    sys.exit(main())
