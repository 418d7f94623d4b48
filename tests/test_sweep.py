"""Kill the real ``schedd run`` everywhere: no body runs twice, no trial is stuck or lost.

A sample runs by default; ``make sweep`` runs every point, pairs of points and failing calls.
"""

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pytest
from sweep.bed import GIVEN, SOBOL, Arms, Bed
from sweep.points import ERRORS, Point, fail_at, fallible, kill_at, points, traced, why_not

AT_ONCE = 2 * (os.cpu_count() or 1)
"""Half of each run is waiting."""
Case = TypeVar("Case")
Failure = tuple[Point, str, int]
"""A call, the error it answers with, and how many calls of its name from there on do so."""
VERBS = ("resume", "run")
STAGES = 2
traceable = pytest.mark.skipif(bool(why_not()), reason=why_not())


@dataclass
class Run:
    """What came of one experiment that was disturbed."""

    case: object
    kills: int
    wanted: int
    adopted: bool = False
    extra: int = 0
    statuses: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass
class Reference:
    """An undisturbed run: what must come of every other, and where it can be disturbed."""

    root: Path
    text: str
    arms: Arms
    points: list[Point] = field(default_factory=list)
    fallible: list[Point] = field(default_factory=list)

    @cached_property
    def later(self) -> list[list[Point]]:
        """The points of runs that go on after an early kill and after a late one."""
        starts = spread(self.points, STAGES)
        return [continuation(self, i, start) for i, start in enumerate(starts)]

    def bed(self, name: str) -> Bed:
        return Bed(self.root / name, self.text)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is one: a database is synced a dozen times in each run."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path_factory.mktemp("sweep")
        return
    place = Path(tempfile.mkdtemp(prefix="sweep-", dir="/dev/shm"))
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def given(root: Path) -> Reference:
    return reference(root / "given", GIVEN)


@pytest.fixture(scope="module")
def sobol(root: Path) -> Reference:
    return reference(root / "sobol", SOBOL)


def reference(place: Path, text: str) -> Reference:
    place.mkdir()
    bed, log = Bed(place / "clean", text), place / "log"
    tracer = [] if why_not() else traced(log)
    assert bed.drive("run", tracer).status == 0, bed.faults
    found = Reference(place, text, bed.arms())
    assert bed.check(found.arms) == []
    if tracer:
        found.points, found.fallible = points(log), fallible(log)
    return found


def continuation(to: Reference, number: int, start: Point) -> list[Point]:
    """Return the points of the run that follows a kill at ``start``."""
    bed, log = to.bed(f"later{number}"), to.root / f"later{number}.log"
    bed.drive("run", kill_at(start))
    bed.go_on("resume", traced(log))
    return points(log)


def spread(cases: Sequence[Case], number: int) -> list[Case]:
    """Return so many of the cases, evenly."""
    return [cases[i * len(cases) // number] for i in range(number)]


def pairs(to: Reference, number: int, seed: int) -> list[tuple[Point, Point]]:
    """Return different pairs: a point, and one of the run that goes on from about there."""
    draw = random.Random(seed)
    found: dict[tuple[Point, Point], None] = {}
    while len(found) < number:
        i = draw.randrange(len(to.points))
        found[to.points[i], draw.choice(to.later[i * STAGES // len(to.points)])] = None
    return list(found)


def failures(to: Reference) -> list[Failure]:
    """Return every call that may fail, with every error, once and for a while.

    Writes fail once: the last of them go to standard output.
    """
    return [
        (point, error, times)
        for point in to.fallible
        for error in ERRORS[point[0]]
        for times in ((1,) if point[0] == "write" else (1, 8))
    ]


def every(cases: Sequence, one: Callable[[int, object], Run]) -> list[Run]:
    """Run the cases, several at once; print what came of them."""
    start = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = list(pool.map(one, range(len(cases)), cases))
    twice = sum(any(f.startswith("twice") for f in run.faults) for run in runs)
    print(
        f"\n{len(runs)} runs, {sum(r.kills for r in runs)} of {sum(r.wanted for r in runs)} "
        f"kills, {sum(r.adopted for r in runs)} adoptions, {sum(r.extra for r in runs)} extra "
        f"attempts, {twice} with a body run twice, {sum(bool(r.faults) for r in runs)} with "
        f"any fault, {time.monotonic() - start:.0f} s"
    )
    bad = [f"{run.case} {run.statuses}: {fault}" for run in runs for fault in run.faults]
    assert not bad, "\n".join(bad)
    return runs


def killed_at(to: Reference, number: int, kills: Sequence[Point]) -> Run:
    """Kill schedd at each of ``kills``, one run after the other, and go on to the end."""
    bed = to.bed("-".join(f"{name}{k}" for name, k in kills))
    ended = [bed.drive("run", kill_at(kills[0]))]
    adopted = bed.is_running()
    ended += [bed.go_on("resume", kill_at(point)) for point in kills[1:]]
    bed.finish(VERBS[number % 2])
    faults = bed.check(to.arms)
    if not faults:
        shutil.rmtree(bed.folder)
    killed = sum(run.killed for run in ended)
    return Run(kills, killed, len(kills), adopted, 0, [e.status for e in ended], faults)


def fired(runs: list[Run], share: float) -> None:
    """A sweep that kills nothing proves nothing."""
    wanted = sum(run.wanted for run in runs)
    assert sum(run.kills for run in runs) >= min(share * wanted, wanted - 1)


def kill_once(to: Reference, cases: Sequence[Point], share: float = 0.98) -> None:
    fired(every(cases, lambda number, point: killed_at(to, number, [point])), share)


def kill_twice(to: Reference, cases: Sequence[tuple[Point, Point]]) -> list[Run]:
    runs = every(cases, lambda number, pair: killed_at(to, number, pair))
    fired(runs, 0.65)  # how often the second run calls what is not known beforehand
    return runs


def fail(to: Reference, cases: Sequence[Failure]) -> None:
    """Let calls fail: schedd waits or says why it ends, and the next run goes on."""

    def one(number: int, case: Failure) -> Run:
        (name, k), error, times = case
        bed = to.bed(f"{name}{k}-{error}-{times}")
        ended = bed.drive("run", fail_at(*case))
        bed.finish(VERBS[number % 2])
        return Run(case, 0, 0, statuses=[ended.status], faults=bed.check(to.arms))

    every(cases, one)


@traceable
def test_a_kill_at_a_sample_of_points(given: Reference) -> None:
    assert len(given.points) > 250
    kill_once(given, spread(given.points, 14))


@traceable
def test_two_kills_at_a_sample_of_points(given: Reference) -> None:
    kill_twice(given, pairs(given, 4, seed=1))


SAMPLE = {"epoll_ctl": 8, "pidfd_open": 1, "fdatasync": 8, "pwrite64": 1, "flock": 8}
"""Of these calls a failure, so many times in a row."""


@traceable
def test_calls_that_fail_at_a_sample_of_points(given: Reference) -> None:
    cases: list[Failure] = []
    for name, times in SAMPLE.items():
        found = [case for case in failures(given) if (case[0][0], case[2]) == (name, times)]
        cases += dict.fromkeys(spread(found, 2 if name == "epoll_ctl" else 1))
    fail(given, cases)


def at_moments(to: Reference, number: int, seed: int) -> None:
    """Kill schedd, the process that generates, or a wrapper, at random moments."""

    def one(number: int, delay: float) -> Run:
        victim = ("schedd", "schedd", "generation.child", "import wrapper")[number % 4]
        bed = to.bed(f"{victim.replace(' ', '-')}{number}")
        process = bed.start("run")
        time.sleep(delay)
        if victim == "schedd":
            process.kill()
        else:
            end(bed, victim, process.poll)
        ended = bed.wait(process)
        bed.finish(VERBS[number // 4 % 2])
        wrapper = victim == "import wrapper"
        faults = bed.check(to.arms, extra=wrapper)
        return Run(victim, 0, 0, extra=bed.extra(), statuses=[ended.status], faults=faults)

    draw = random.Random(seed)
    every([draw.uniform(0.0, 3.0) for _ in range(number)], one)


def end(bed: Bed, word: str, ended: Callable[[], int | None]) -> None:
    """Kill one process of the experiment as soon as there is one."""
    while ended() is None:
        for pid in bed.processes(word)[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return


def test_kills_at_random_moments(sobol: Reference) -> None:
    at_moments(sobol, 8, seed=1)


@pytest.mark.sweep
@pytest.mark.timeout(7200)
class TestEverything:
    @traceable
    def test_a_kill_at_every_point(self, given: Reference) -> None:
        kill_once(given, given.points)

    @traceable
    def test_a_kill_at_every_point_with_a_generator(self, sobol: Reference) -> None:
        # On a busy machine the traced run waits, and ticks, more often than others.
        kill_once(sobol, sobol.points, share=0.9)

    @traceable
    def test_two_kills(self, given: Reference) -> None:
        runs = kill_twice(given, pairs(given, 700, seed=2))
        assert sum(run.kills == 2 for run in runs) >= 500

    @traceable
    def test_calls_that_fail(self, given: Reference) -> None:
        fail(given, spread(failures(given), 400))

    def test_kills_at_more_random_moments(self, sobol: Reference) -> None:
        at_moments(sobol, 80, seed=2)
