"""Many trials in one store: what a tick costs, and reading verbs, as the store grows.

    python scale.py [--trials 100000] [--experiments 200] [--active 1000] [--postgresql]

The real loop over SQLite with full sync, or a PostgreSQL of its own, and a backend in memory;
generation is left out. Times are CPU of this process, in milliseconds; a server's own is not
counted. Each figure is shown for a store of a tenth of the trials,
and for the whole: where cost follows what is active, the two are alike.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK = 2000
TICKS = 10


def definition(name: str, active: int):
    from scheduler.model.definition import ExperimentDefinition

    return ExperimentDefinition.model_validate(
        {
            "name": name,
            "parameters": [
                {"name": f"x{i}", "type": "range", "bounds": [0.0, 1.0]} for i in range(6)
            ],
            "objective": "-loss",
            "generation_strategy": {"nodes": [{"generator": "sobol"}]},
            "trials": {"total_trials": 1_000_000, "max_pending_trials": max(1, active)},
            "runner": {"command": ["true"]},
        }
    )


def filled(store, name: str, done: int, active: int, folder: Path):
    """Store an experiment with ``done`` completed trials and ``active`` ones that wait."""
    from scheduler.model.experiment import Changes
    from scheduler.model.observation import Observation
    from scheduler.model.trial import Arm, Trial, TrialStatus
    from scheduler.storage.write import write

    store.create(definition(name, active), folder / name, time.time())
    experiment = store.find(name)
    done_at = {"status": TrialStatus.COMPLETED, "started_at": 1.0, "completed_at": 2.0}
    for start in range(0, done + active, CHUNK):
        indexes = range(start, min(start + CHUNK, done + active))
        trials = tuple(
            Trial(
                i,
                (Arm(f"{i}_0", {f"x{k}": (i * 0.618 + k) % 1 for k in range(6)}),),
                **(done_at if i < done else {}),
            )
            for i in indexes
        )
        seen = tuple(
            Observation(i, 1, f"{i}_0", "loss", 1.0 / (i + 1)) for i in indexes if i < done
        )
        with store.writing() as connection:
            write(connection, experiment.id, Changes(trials=trials, observations=seen), start)
    return experiment


class Nobody:
    """A generator that is not asked: candidates were made before."""

    busy = True

    def ask(self, request) -> None:
        raise AssertionError("nothing is to be generated")

    def reply(self) -> None:
        return None

    def close(self) -> None:
        return None


def loop_of(store, experiment, world):
    from metrics.base import Fetcher, FetcherOptions, Point
    from runners.testing import FakeRunner
    from scheduler.clock import Clock
    from scheduler.loop import Loop, World
    from scheduler.storage.journal import ExperimentJournal

    class Constant(Fetcher):
        def fetch(self, request):
            return [Point(0.5)]

    clock = Clock()
    lease = store.acquire(experiment, time.time())
    return Loop(
        World(
            journal=ExperimentJournal(store, experiment, lease, clock),
            runner=FakeRunner(world=world),
            fetchers={"loss": Constant(FetcherOptions())},
            generator=Nobody(),
            now=clock.now,
            trials_dir=experiment.trials_dir,
            token=experiment.token,
        )
    )


def ticks(loop, world, ends: int) -> Iterator[float]:
    """Tick; in each tick ``ends`` jobs end. Yield the CPU of each."""
    for _ in range(TICKS):
        running = [name for name in world.executions if not world.report(name).state.is_final]
        for name in running[:ends]:
            world.finish(name, SUCCEEDED())
        before = time.process_time()
        loop.tick()
        yield 1e3 * (time.process_time() - before)


def SUCCEEDED():  # noqa: N802
    from runners.base import JobState

    return JobState.SUCCEEDED


@contextmanager
def place(on_server: bool) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL of a database that holds nothing yet."""
    with tempfile.TemporaryDirectory() as folder:
        if not on_server:
            yield Path(folder), f"sqlite:///{folder}/schedd.db"
            return
        sys.path.insert(0, str(Path(__file__).parent.parent))
        from services.postgres import postgres

        with postgres() as server:
            yield Path(folder), server.url(server.create())


def measure(trials: int, experiments: int, active: int, on_server: bool) -> dict[str, float]:
    """Return the figures of one store."""
    from runners.testing import FakeWorld
    from scheduler.storage.store import Store

    with place(on_server) as (folder, url):
        store = Store.open(url, create=True)
        began, each = time.process_time(), trials // experiments
        made = [
            filled(store, f"e{i}", each, active // experiments, folder) for i in range(experiments)
        ]
        figures = {"filled_us_per_trial": 1e6 * (time.process_time() - began) / trials}
        worlds = [FakeWorld(seconds=lambda _: 1e12, clock=time.time) for _ in made]
        began = time.process_time()
        loops = [loop_of(store, e, w) for e, w in zip(made, worlds, strict=True)]
        figures["load_ms_per_experiment"] = 1e3 * (time.process_time() - began) / len(loops)
        for loop in loops:
            for _ in range(3):
                loop.tick()
        idle = sorted(t for lo, w in zip(loops, worlds, strict=True) for t in ticks(lo, w, 0))
        busy = sorted(t for lo, w in zip(loops, worlds, strict=True) for t in ticks(lo, w, 1))
        for name, found in (("idle", idle), ("one_ends", busy)):
            figures[f"tick_{name}_ms_median"] = found[len(found) // 2]
            figures[f"tick_{name}_ms_p99"] = found[int(0.99 * len(found))]
        figures["rss_mb"] = rss()
        store.close()
        for verb in (("status",), ("trials", "e0", "--last", "20"), ("status", "e0")):
            figures[f"schedd {' '.join(verb)}, ms"] = verb_ms(folder, *verb, "--storage", url)
    return figures


def rss() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def verb_ms(folder: Path, *verb: str) -> float:
    """Return the CPU of a verb in a process of its own."""
    entry = [sys.executable, "-P", "-c", "from scheduler.cli import main; main()"]
    before = os.times()
    subprocess.run([*entry, *verb], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return 1e3 * (
        after.children_user - before.children_user + after.children_system - before.children_system
    )


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--active", type=int, default=1000)
    parser.add_argument("--postgresql", action="store_true", help="instead of SQLite")
    parser.add_argument("--one", action="store_true", help="print one store's figures as JSON")
    options = parser.parse_args()
    if options.one:
        sizes = (options.trials, options.experiments, options.active)
        print(json.dumps(measure(*sizes, options.postgresql)))
        return
    words = [f"--{name}={getattr(options, name)}" for name in ("experiments", "active")]
    words += ["--postgresql"] if options.postgresql else []
    small = of_process(f"--trials={options.trials // 10}", *words)
    large = of_process(f"--trials={options.trials}", *words)
    print(f"{'':36}{options.trials // 10:>12}{options.trials:>12}{'ratio':>8}")
    for name, value in large.items():
        print(f"{name:36}{small[name]:12.2f}{value:12.2f}{value / small[name]:8.2f}")


def of_process(*words: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    main()
