"""Kill the real ``schedd daemon`` around the requests it makes of a cluster, then go on.

No trial is lost, none is stuck, no body runs twice, no Job is made twice and none is left over. A
sample runs by default; ``make sweep`` kills before and after every request that changes something
and many that do not, and several times in a row.
"""

import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from services.kubernetes import schema
from services.kubernetes.cluster import FakeCluster
from services.kubernetes.killing import Step, representative, steps
from services.kubernetes.scene import JOBS, Scene

pytestmark = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())
AT_ONCE = 2 * (os.cpu_count() or 1)

BATCH = [
    Step("create", "jobs", "batch 0 a1", 1, takes_effect=True),
    Step("patch", "jobs", "batch 0 a1", 1, takes_effect=False),
    Step("get", "pods/log", "batch 0 a1", 1, takes_effect=True),
    Step("delete", "jobs", "batch 0 a1", 1, takes_effect=False),
    Step("delete", "jobs", "plain 2 a1", 1, takes_effect=False),
    Step("delete", "jobs", "plain 2 a1", 1, takes_effect=True),
]
"""Between Job and id, id and start, output and outcome, outcome and the Job's end; and around the
end of a trial that is given up."""
FAILED = [
    Step("create", "jobs", "plain 1 a1", 1, takes_effect=False),
    Step("delete", "jobs", "plain 1 a1", 1, takes_effect=True),
    Step("create", "jobs", "plain 1 a2", 1, takes_effect=True),
    Step("patch", "jobs", "held 0 a1", 1, takes_effect=False),
    Step("patch", "jobs", "held 0 a1", 1, takes_effect=True),
]
"""Between intent and Job, the end of an attempt and the next; and around the start of a Job that a
person releases."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    """Every step of an undisturbed run that is worth a kill."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with FakeCluster(folder / "cluster") as cluster:
        scene = Scene(folder / "scene", cluster)
        scene.play()
        assert scene.faults == []
        return list(representative(steps(cluster.front.requests)))


def all_played(
    folder: Path, cases: Sequence[Sequence[Step]], *, in_turn: bool = False
) -> tuple[int, list[str]]:
    """Return the number of kills, and what is wrong in the end, of all cases."""

    def one(numbered: tuple[int, Sequence[Step]]) -> tuple[int, list[str]]:
        number, kills = numbered
        place = folder / str(number)
        with FakeCluster(place / "cluster") as cluster:
            scene = Scene(place / "scene", cluster)
            scene.play(kills, in_turn=in_turn)
        case = ", ".join(map(str, kills))
        return scene.kills, [f"{case}: {fault}" for fault in scene.faults]

    start = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(one, enumerate(cases)))
    kills, faults = sum(n for n, _ in done), [fault for _, found in done for fault in found]
    wanted, seconds = sum(map(len, cases)), time.monotonic() - start
    print(f"\n{len(cases)} runs, {kills} of {wanted} kills, {len(faults)} faults, {seconds:.0f} s")
    return kills, faults


def test_kills_at_every_step_of_some_trials_cost_nothing(tmp_path):
    done = all_played(tmp_path, [BATCH, FAILED], in_turn=True)
    assert done == (len(BATCH) + len(FAILED), [])


@pytest.mark.sweep
@pytest.mark.timeout(3600)
class TestEverywhere:
    def test_a_kill_around_any_request(self, tmp_path, found):
        changing = {(step.verb, step.of) for step in found if step.changes}
        assert changing >= {(verb, of) for verb in ("create", "patch", "delete") for of in JOBS}
        for chosen, share in ((lambda s: s.changes, 1.0), (lambda s: not s.changes, 0.9)):
            cases = [[step] for step in found if chosen(step)]
            kills, faults = all_played(tmp_path / f"{share}", cases)
            assert faults == []
            assert kills >= share * len(cases)

    def test_several_kills(self, tmp_path, found):
        draw = random.Random(1)
        places = [sorted(draw.sample(range(len(found)), 3)) for _ in range(30)]
        kills, faults = all_played(tmp_path, [[found[i] for i in chosen] for chosen in places])
        assert faults == []
        assert kills >= 45  # a step may have been passed before a daemon begins
