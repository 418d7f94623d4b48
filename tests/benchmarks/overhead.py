"""CPU of the scheduler per trial: the real loop, store and generator; trials that end at once.

    python overhead.py N [apart]     prints the figures of one run of N trials as a line of JSON

All but the runner is what ``schedd run`` uses: a lease, SQLite with full sync, Sobol arms from
the worker process, the driver, its progress lines. CPU is that of both processes, all threads.
``apart``: one job ends at each look, so that each trial has a tick and a commit of its own.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PARALLEL = 10
PARAMETERS = [{"name": f"x{i}", "type": "range", "bounds": [0.0, 1.0]} for i in range(6)]


def children() -> list[int]:
    """Return the ids of this process's children."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process has used, to the nanosecond."""
    # The number of another process's clock, as clock_getcpuclockid(3) makes it.
    return time.clock_gettime(~pid << 3 | 2)


def definition(name: str, trials: int):
    from scheduler.model.definition import ExperimentDefinition

    return ExperimentDefinition.model_validate(
        {
            "schema": "schedd/v1",
            "name": name,
            "parameters": PARAMETERS,
            "objective": "-y",
            "generation_strategy": {"nodes": [{"generator": "sobol"}]},
            "trials": {"total_trials": trials, "max_pending_trials": PARALLEL},
            "runner": {"command": ["true"]},
        }
    )


def warmed_generator(wake):
    """Return a generator whose process made one arm of another experiment: imports are done."""
    from scheduler.generation.protocol import GenerationRequest
    from scheduler.generation.worker import WorkerGenerator

    generator = WorkerGenerator(wake)
    generator.ask(GenerationRequest(definition("warm", 1), "sobol", 1, 1, 1))
    while generator.reply() is None:
        time.sleep(0.005)
    return generator


def instant(wake, apart: bool):
    """Return a runner whose jobs end as soon as they are looked at, and which says so."""
    from runners.base import Job, JobRef, JobReport, RunnerError
    from runners.testing import FakeRunner

    class Instant(FakeRunner):
        def submit(self, jobs: Sequence[Job]) -> Mapping[str, str | RunnerError]:
            answers = super().submit(jobs)
            self.wake()
            return answers

        def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobReport]:
            if len(refs) > 1 and apart:
                self.wake()
                refs = refs[:1]
            return super().poll(refs)

    return Instant(wake=wake)


def world_of(store, experiment, lease, news, apart: bool):
    """Return the world of ``daemon.take``, but for its runner and its metric."""
    from metrics.base import Fetcher, FetcherOptions, FetchRequest, Point
    from scheduler.clock import Clock
    from scheduler.loop import World
    from scheduler.storage.journal import ExperimentJournal

    class Sphere(Fetcher):
        def fetch(self, request: FetchRequest) -> Sequence[Point]:
            return [Point(sum((x - 0.3) ** 2 for x in request.parameters.values()))]

    clock = Clock()
    return World(
        journal=ExperimentJournal(store, experiment, lease, clock),
        runner=instant(news.set, apart),
        fetchers={"y": Sphere(FetcherOptions())},
        generator=warmed_generator(news.set),
        now=clock.now,
        trials_dir=experiment.trials_dir,
        token=experiment.token,
    )


def prepare(trials: int, apart: bool, folder: Path):
    """Return an experiment that is stored and ready to be driven, its modules imported."""
    from scheduler.daemon import Driven, News
    from scheduler.loop import Loop
    from scheduler.storage.store import Store
    from scheduler.submit import submit

    store = Store.open(f"sqlite:///{folder / 'bench.db'}", create=True)
    experiment = submit(store, definition("bench", trials), time.time())
    news = News()
    lease = store.acquire(experiment, time.time())
    return Driven(Loop(world_of(store, experiment, lease, news, apart)), lease, news)


def measure(trials: int, apart: bool, folder: Path) -> dict[str, float]:
    """Run one experiment in ``folder``; return milliseconds per trial."""
    from scheduler.cli.progress import Progress
    from scheduler.daemon import drive

    driven = prepare(trials, apart, folder)
    (worker,) = children()
    imports, own = cpu_of(worker), time.process_time()
    marks = Marks(lambda: time.process_time() + cpu_of(worker))
    with open("/dev/null", "w") as nothing:
        progress = Progress(driven.loop.state.definition.name, nothing)

        def watch(state, events) -> None:
            progress.watch(state, events)
            marks.note(sum(state.tally.finished.values()))

        drive(driven, watch)
    figures = marks.per_trial(trials)
    figures["worker"] = 1e3 * (cpu_of(worker) - imports) / trials
    driven.release()
    return {**figures, "imports_s": imports + own}


class Marks:
    """How much CPU and time was used when so many trials had ended."""

    def __init__(self, cpu: Callable[[], float]) -> None:
        """Begin; ``cpu`` returns the seconds of CPU used so far."""
        self._cpu = cpu
        self._start = time.perf_counter()
        self._marks = {0: cpu()}

    def note(self, ended: int) -> None:
        self._marks[ended] = self._cpu()

    def per_trial(self, trials: int) -> dict[str, float]:
        """Return milliseconds per trial: CPU of all, of the first and the last 50; wall."""
        marks, done = self._marks, sorted(self._marks)
        early = next(n for n in done if n >= min(50, trials))
        late = max(n for n in done if n <= max(0, trials - 50))
        spans = {"cpu": (0, trials), "first": (0, early), "last": (late, trials)}
        each = {k: 1e3 * (marks[b] - marks[a]) / (b - a) for k, (a, b) in spans.items()}
        return {**each, "wall": 1e3 * (time.perf_counter() - self._start) / trials}


if __name__ == "__main__":
    count, one_by_one = int(sys.argv[1]), sys.argv[2:] == ["apart"]
    with tempfile.TemporaryDirectory(prefix="schedd-bench-") as place:
        print(json.dumps({"trials": count, **measure(count, one_by_one, Path(place))}))
