"""The real core and the real Kubernetes runner, over HTTP, on a fake cluster in simulated time.

A failure names its seed. To see it again: ``SCHEDD_SIM_SEED=123 pytest
tests/test_simulation_kubernetes.py``; for more histories: ``SCHEDD_SIM_CLUSTERS=1000``.
"""

import os
from pathlib import Path

import pytest
from services.kubernetes import schema
from simulation.cluster import ClusterHistory
from simulation.faults import Violation

from runners.kube import api, jobs, observe, snapshot
from runners.kubernetes import KubernetesRunner

pytestmark = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())
HISTORIES = int(os.environ.get("SCHEDD_SIM_CLUSTERS", "4"))
SEEDS = list(map(int, os.environ.get("SCHEDD_SIM_SEED", "").split())) or range(HISTORIES)
CHUNK = 50
BOUND = 100
"""Seeds within which a bug put in on purpose must be found."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_AGAIN", (0.0, 0.0))
    monkeypatch.setattr(snapshot, "PAGE", "2")


def play(seed: int, folder: Path, **given) -> ClusterHistory:
    return ClusterHistory(seed, folder=folder / str(seed), **given).play()


@pytest.mark.parametrize("seeds", [SEEDS[at : at + CHUNK] for at in range(0, len(SEEDS), CHUNK)])
def test_no_history_on_a_cluster_breaks_a_promise(seeds, tmp_path):
    for seed in seeds:
        play(seed, tmp_path)


def test_a_seed_is_a_history(tmp_path):
    first, second = (play(3, tmp_path / name) for name in ("first", "second"))
    assert first.store.log == second.store.log
    assert first.chance.struck == second.chance.struck


def test_without_faults_a_history_ends_by_itself(tmp_path):
    history = play(4, tmp_path, without=frozenset(ClusterHistory.faults))
    assert history.chance.struck == {}
    assert {t.attempt for t in history.store.trials.values()} == {1}
    assert {times for g in history.backend.jobs.values() for times in g.starts.values()} == {1}


@pytest.mark.sweep
@pytest.mark.timeout(900)
def test_every_fault_of_a_cluster_strikes(tmp_path):
    missing = {*ClusterHistory.faults}
    for seed in range(BOUND):
        missing -= play(seed, tmp_path).chance.struck.keys()
        if not missing:
            break
    assert missing == set()


# -- bugs put in on purpose


def _starts_what_is_not_stored(patch: pytest.MonkeyPatch) -> None:
    create = jobs.create

    def hasty(server, job, *, dry_run=False):
        job["spec"]["suspend"] = False
        return create(server, job, dry_run=dry_run)

    patch.setattr(jobs, "create", hasty)
    patch.setattr(jobs, "is_misunderstood", lambda *_: "")


def _trusts_lists(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(jobs, "get", lambda *_: None)


def _takes_trouble_for_absence(patch: pytest.MonkeyPatch) -> None:
    get = jobs.get

    def careless(server, name):
        try:
            return get(server, name)
        except (api.Refusal, api.Unavailable):
            return None

    patch.setattr(jobs, "get", careless)


def _reports_before_the_output_is_here(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(observe.Courier, "has_all", lambda *_: True)


def _measures_half_of_an_output(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(observe, "_without_output", lambda report, *_, **__: report)


def _takes_a_namesake_for_its_own(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(jobs, "is_ours", lambda job, name, _: job["metadata"]["name"] == name)


def _takes_the_next_job_of_a_name_for_the_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(jobs, "is_meant", lambda job, ref, token: jobs.is_ours(job, ref.name, token))


def _leaves_strays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KubernetesRunner, "unfinished", lambda *_: ())


def _forgets_to_delete(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KubernetesRunner, "cancel", lambda *_: None)


BUGS = {
    bug.__name__.strip("_"): bug
    for bug in (
        _starts_what_is_not_stored,
        _trusts_lists,
        _takes_trouble_for_absence,
        _reports_before_the_output_is_here,
        _measures_half_of_an_output,
        _takes_a_namesake_for_its_own,
        _takes_the_next_job_of_a_name_for_the_first,
        _leaves_strays,
        _forgets_to_delete,
    )
}


@pytest.mark.sweep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", BUGS)
def test_a_bug_in_the_runner_is_found(name, tmp_path, monkeypatch):
    BUGS[name](monkeypatch)
    assert found_at(tmp_path) is not None


def found_at(folder: Path) -> int | None:
    """Return the first seed that breaks a promise."""
    for seed in range(BOUND):
        try:
            play(seed, folder)
        except Violation as error:
            if isinstance(error.__cause__, (TypeError, AttributeError, NameError)):
                raise
            return seed
    return None
