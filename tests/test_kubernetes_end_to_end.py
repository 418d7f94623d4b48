"""Whole experiments through ``schedd run`` on a cluster, with the documented Role and no more."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from services.kubernetes import schema
from services.kubernetes.bed import ClusterBed
from services.kubernetes.cluster import FakeCluster

pytestmark = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())
ROLE = Path(__file__).parent.parent / "configs/kubernetes/role.yaml"
EXPERIMENT = """
schema: schedd/v1
name: whole
parameters:
  - {name: x, type: range, bounds: [0.0, 1.0]}
objective: "-loss"
generation_strategy: {nodes: [{generator: sobol}], seed: 3}
failures: {backoff: {initial: 0.1}}
polling: {interval: 0.2}
runner:
  type: kubernetes
  command:
    - sh
    - -c
    - |
      echo "start {trial_index} {arm} {attempt}" >> NOTES
      BODY
      echo "end {trial_index} {arm} {attempt}" >> NOTES
      echo "{\\"loss\\": {params.x}}"
  kubernetes: {image: "busybox:1", kubeconfig: KUBECONFIG}
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeCluster]:
    with FakeCluster(tmp_path / "cluster") as cluster:
        cluster.api.restricted = True
        cluster.grant([yaml.safe_load(ROLE.read_text())])
        yield cluster
        assert (cluster.api.warnings, cluster.api.rbac.denied) == ([], [])


def bed(tmp_path: Path, cluster: FakeCluster, trials: str, body: str = "true") -> ClusterBed:
    text = EXPERIMENT.replace("BODY", body) + f"trials: {trials}\n"
    return ClusterBed(tmp_path / "bed", cluster, text)


def lines(bed: ClusterBed) -> list[str]:
    return (bed.folder / "ran.log").read_text().splitlines()


def at_once(lines: list[str]) -> int:
    """Return how many bodies ran at the same time, at most."""
    running = most = 0
    for line in lines:
        running += 1 if line.startswith("start") else -1
        most = max(most, running)
    return most


def test_twenty_trials_four_at_once(tmp_path, cluster):
    made = bed(tmp_path, cluster, "{total_trials: 20, max_pending_trials: 4}", "sleep 0.2")
    ended = made.drive()
    assert (ended.status, made.faults) == (0, []), ended.said
    assert made.rows("SELECT status, attempt, count(*) FROM trial GROUP BY 1, 2") == [
        ("COMPLETED", 1, 20)
    ]
    assert set(Counter(lines(made)).values()) == {1}
    assert len(lines(made)) == 40
    assert 1 < at_once(lines(made)) <= 4
    query = "SELECT o.mean, a.parameters FROM observation o JOIN arm a USING (trial_index)"
    pairs = made.rows(query)
    assert len(pairs) == 20
    assert all(yaml.safe_load(parameters) == {"x": mean} for mean, parameters in pairs)


def test_batches_start_together_and_are_measured_arm_by_arm(tmp_path, cluster):
    trials = "{total_trials: 3, batch_size: 3, max_pending_trials: 1}"
    made = bed(tmp_path, cluster, trials, "sleep 0.3")
    ended = made.drive()
    assert (ended.status, made.faults) == (0, []), ended.said
    assert set(Counter(lines(made)).values()) == {1}
    requests = cluster.front.requests
    created = [r for r in requests if (r.verb, r.resource, r.code) == ("create", "jobs", 201)]
    assert (len(lines(made)), len(created)) == (18, 3)
    assert list(cluster.store.all("jobs")) == []
    assert made.rows("SELECT count(*) FROM observation") == [(9,)]


def test_a_trial_that_takes_too_long_is_ended_and_its_output_is_here(tmp_path, cluster):
    trials = "{total_trials: 1, ttl: 2s}"
    made = bed(tmp_path, cluster, trials, "echo begun; sleep 3600")
    ended = made.drive()
    assert "Traceback" not in ended.said
    assert made.rows("SELECT status, reason FROM trial") == [("FAILED", "TIMEOUT")]
    out = next(made.folder.glob("whole.trials/**/stdout.log"))
    assert out.read_text() == "begun\n"
    assert cluster.pods() == []
