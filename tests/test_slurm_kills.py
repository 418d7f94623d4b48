"""Kill schedd, or the sbatch it waits for, around a submission: no trial lost, none run twice.

A sample runs by default; ``make test-slurm`` kills at every system call that changes something.
"""

import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from services.slurm import Slurm
from slurm_faults.bed import Bed, experiment
from slurm_faults.commands import AFTER, BEFORE, KILL_SCHEDD
from slurm_faults.fixtures import cluster, place
from sweep.points import Point, kill_at, points, traced, why_not

__all__ = ["cluster", "place"]
traceable = pytest.mark.skipif(bool(why_not()), reason=why_not())
LONG = pytest.mark.slurm_faults
AT_ONCE = 4
"""Runs at the same time; most of each is waiting."""

TEXT = experiment("[ {trial_index} != 1 ] || sleep 1")


def killed(bed: Bed, number: int = 1) -> None:
    """Drive it so often to a death by a hook, then to its end."""
    assert bed.drive("run").killed
    for _ in range(number - 1):
        assert bed.go_on("resume").killed
    bed.finish("resume")


@pytest.mark.parametrize(
    ("command", "when", "script"),
    [
        pytest.param("sbatch", BEFORE, KILL_SCHEDD + "; exit 1", id="before"),
        pytest.param("sbatch", BEFORE, KILL_SCHEDD, id="during", marks=LONG),
        pytest.param("sbatch", BEFORE, KILL_SCHEDD + "; sleep 6", id="long-before-it-arrives"),
        pytest.param("sbatch", AFTER, KILL_SCHEDD, id="after"),
        pytest.param("squeue", BEFORE, KILL_SCHEDD, id="at-the-first-question", marks=LONG),
    ],
)
def test_schedd_killed_around_a_command(cluster, place, command, when, script):
    bed = Bed(place / "e", TEXT, cluster)
    bed.commands.hook(command, when, script)
    killed(bed)
    # An sbatch that arrives after the end of all leaves a job, which finds its task claimed.
    time.sleep(0.5)
    end = time.monotonic() + 60
    while bed.unfinished() and time.monotonic() < end:
        time.sleep(0.1)
    bed.check_end(3)


def test_sbatch_killed_after_the_cluster_has_the_job(cluster, place):
    """Its answer is lost, schedd lives on: it must ask by name, not submit again."""
    bed = Bed(place / "e", TEXT, cluster)
    bed.commands.hook("sbatch", "instead", '$real "$@" > /dev/null; kill -9 $$')
    bed.finish("run")
    bed.check_end(3)


@LONG
def test_sbatch_answers_with_noise(cluster, place):
    """A banner, a warning and an error code around an id: the id alone is believed, or none."""
    bed = Bed(place / "e", TEXT, cluster)
    noise = 'echo "Welcome to 2026"; $real "$@"; echo "sbatch: warning: 7 of 9" >&2; exit 1'
    bed.commands.hook("sbatch", "instead", noise)
    bed.finish("run")
    bed.check_end(3)


# -- at every system call


def trace(root: Path, cluster: Slurm) -> list[Point]:
    """Return where an undisturbed run can be killed, from its first touch of the database on."""
    bed, log = Bed(root / "clean", TEXT, cluster), root / "log"
    assert bed.drive("run", traced(log)).status == 0
    bed.check_end(3)
    return points(log)


def submission(log: Path, found: Sequence[Point]) -> list[Point]:
    """Return the points from the first touch of a trial's folder to the commit of its job's id."""
    seen: Counter[str] = Counter()
    window: list[Point] = []
    commits = -1
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"(\w+)\(", line)
        if match is None:
            continue
        seen[match[1]] += 1
        if commits < 0 and "/.schedd/" in line:
            commits = 0
        if commits >= 0:
            window.append((match[1], seen[match[1]]))
            commits += match[1] == "fdatasync"
        if commits == 2:
            break
    return [point for point in found if point in set(window)]


def sweep(cluster: Slurm, root: Path, cases: Sequence[Sequence[Point]], share: float) -> None:
    """Kill schedd at each point of each case, one after the other, and go on to the end."""

    def one(case: Sequence[Point]) -> tuple[int, list[str], int]:
        bed = Bed(root / "-".join(f"{name}{k}" for name, k in case), TEXT, cluster)
        ended = [bed.drive("run", kill_at(case[0]))]
        ended += [bed.go_on("resume", kill_at(point)) for point in case[1:]]
        bed.finish("resume")
        try:
            bed.check_end(3)
        except AssertionError as error:
            return sum(e.killed for e in ended), [f"{case}: {error}"], 0
        jobs = len({job for *_, job, _ in bed.bodies()})
        shutil.rmtree(bed.folder)
        return sum(e.killed for e in ended), [], jobs

    start = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(one, cases))
    kills, wanted = sum(k for k, *_ in done), sum(map(len, cases))
    faults = [fault for _, found, _ in done for fault in found]
    seconds = time.monotonic() - start
    print(f"\n{len(cases)} runs, {kills} of {wanted} kills, {len(faults)} faults, {seconds:.0f} s")
    assert not faults, "\n".join(faults)
    assert kills >= share * wanted


@traceable
@pytest.mark.slurm_faults
@pytest.mark.timeout(7200)
class TestEverywhere:
    def test_at_every_point_of_a_submission(self, cluster, place):
        found = submission(place / "log", trace(place, cluster))
        assert len(found) > 40
        sweep(cluster, place, [[point] for point in found], share=0.9)

    def test_elsewhere(self, cluster, place):
        found = trace(place, cluster)
        sweep(cluster, place, [[point] for point in found[::16]], share=0.9)

    def test_twice(self, cluster, place):
        found = submission(place / "log", trace(place, cluster))
        draw = random.Random(5)
        cases = {(draw.choice(found), draw.choice(found)) for _ in range(40)}
        sweep(cluster, place, sorted(cases), share=0.5)

    def test_sbatch_at_random_moments(self, cluster, place):
        """Milliseconds after its start: the job exists or does not, and its id is told or not."""
        draw = random.Random(7)

        def one(number: int, delay: float) -> Callable[[], None] | None:
            bed = Bed(place / str(number), TEXT, cluster)
            script = f'$real "$@" & p=$!; sleep {delay:.3f}; kill -9 $p; wait $p'
            bed.commands.hook("sbatch", "instead", script)
            bed.finish("run")
            bed.check_end(3)
            return None

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, range(60), [draw.uniform(0.0, 0.03) for _ in range(60)]))
