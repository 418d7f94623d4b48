"""What runner tests rely on in an API server: the fake's word for it, and a real one's.

The same tests run against the cluster of ``KUBECONFIG`` where that is set (``make
test-kubernetes``); so they show that the fake does not make things up.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from services.kubernetes import place as places
from services.kubernetes import real, schema
from services.kubernetes.cluster import NAMESPACE, FakeCluster
from services.kubernetes.containers import Script
from services.kubernetes.patch import JSON_PATCH, MERGE_PATCH
from services.kubernetes.place import Place
from services.kubernetes.probe import Probe

pytestmark = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())
REAL = pytest.param("real", marks=pytest.mark.kubernetes)


@pytest.fixture(params=["fake", REAL])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A namespace on a server. Containers do nothing there."""
    if request.param == "real":
        if why := real.why_not():
            pytest.skip(why)
        with places.on_cluster(tmp_path, restricted=False) as found:
            yield found
        return
    with FakeCluster(tmp_path / "cluster", Script()) as cluster:
        yield Place(Probe(str(cluster.kubeconfig), NAMESPACE), tmp_path, cluster)


@pytest.fixture
def probe(place: Place) -> Probe:
    return place.probe


def pod_of(place: Place, name: str = "one") -> dict:
    """Return the first Pod of a Job, once it has one."""
    place.wait(30, lambda: place.pods(name))
    return place.pods(name)[0]


def job(name: str = "one", **spec: object) -> dict:
    container = {"name": "trial", "image": "busybox:1", "command": ["true"]}
    pod = {"restartPolicy": "Never", "automountServiceAccountToken": False}
    template = {"spec": pod | {"containers": [container]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"of": "test"}, "annotations": {"a/b": "c"}},
        "spec": {"suspend": True, "backoffLimit": 0, "template": template} | spec,
    }


def made(probe: Probe, item: dict) -> dict:
    reply = probe.create("jobs", item)
    assert reply.code == 201, reply
    return reply.body


def test_a_name_is_given_once_and_says_so(probe):
    first = made(probe, job())
    again = probe.create("jobs", job())
    assert (again.code, again.reason) == (409, "AlreadyExists")
    assert probe.get("jobs", "one").body["metadata"]["uid"] == first["metadata"]["uid"]


def test_a_new_object_of_an_old_name_has_another_uid(probe):
    uid = made(probe, job())["metadata"]["uid"]
    gone = probe.delete("jobs", "one", propagationPolicy="Background")
    assert gone.code == 200
    assert probe.get("jobs", "one").reason == "NotFound"
    assert made(probe, job())["metadata"]["uid"] != uid


@pytest.mark.parametrize(
    ("wrong", "word"), [("uid", "UID"), ("resourceVersion", "ResourceVersion")]
)
def test_a_deletion_with_a_wrong_precondition_is_a_conflict(probe, wrong, word):
    made(probe, job())
    other = {"uid": "5f3c8c5e-0000-0000-0000-000000000000", "resourceVersion": "1"}[wrong]
    refused = probe.delete("jobs", "one", preconditions={wrong: other})
    assert (refused.code, refused.reason) == (409, "Conflict")
    assert f"the {word} in the precondition ({other}) does not match" in refused.message
    assert probe.get("jobs", "one").code == 200


def test_a_foreground_deletion_leaves_the_job_until_its_pods_are_gone(place, probe):
    made(probe, job(suspend=False))
    pod_of(place)
    reply = probe.delete("jobs", "one", propagationPolicy="Foreground")
    assert reply.code == 200
    left = probe.get("jobs", "one")
    assert left.code == 404 or left.body["metadata"]["deletionTimestamp"]


def test_a_json_patch_whose_test_fails_changes_nothing(probe):
    made(probe, job())
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": "another"},
        {"op": "replace", "path": "/spec/backoffLimit", "value": 3},
    ]
    refused = probe.patch("jobs", "one", patch, JSON_PATCH)
    assert (refused.code, refused.reason) == (422, "Invalid")
    missing = [{"op": "test", "path": "/metadata/labels/none", "value": "x"}, patch[1]]
    assert probe.patch("jobs", "one", missing, JSON_PATCH).code == 422
    assert probe.get("jobs", "one").body["spec"]["backoffLimit"] == 0


def test_a_json_patch_with_escaped_keys(probe):
    made(probe, job())
    patch = [
        {"op": "test", "path": "/metadata/annotations/a~1b", "value": "c"},
        {"op": "replace", "path": "/metadata/annotations/a~1b", "value": "d"},
        {"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 9},
    ]
    reply = probe.patch("jobs", "one", patch, JSON_PATCH)
    assert reply.code == 200
    assert reply.body["metadata"]["annotations"]["a/b"] == "d"
    assert reply.body["spec"]["activeDeadlineSeconds"] == 9


def test_a_merge_patch_of_another_version_or_uid_is_refused(probe):
    made(probe, job())
    reply = probe.patch("jobs", "one", {"metadata": {"resourceVersion": "1"}}, MERGE_PATCH)
    assert (reply.code, reply.reason) == (409, "Conflict")
    another = {"metadata": {"uid": "5f3c8c5e-0000-0000-0000-000000000000"}}
    reply = probe.patch("jobs", "one", another, MERGE_PATCH)
    assert (reply.code, reply.reason) == (422, "Invalid")
    reply = probe.patch("jobs", "one", {"metadata": {"labels": {"of": None}}}, MERGE_PATCH)
    assert "of" not in (reply.body["metadata"].get("labels") or {})


def test_a_patch_of_an_unknown_kind_is_refused(probe):
    made(probe, job())
    assert probe.patch("jobs", "one", {}, "application/json").code == 415


def test_a_template_cannot_change(probe):
    made(probe, job(suspend=False))
    path = "/spec/template/spec/containers/0/image"
    patch = [{"op": "replace", "path": path, "value": "other:1"}]
    refused = probe.patch("jobs", "one", patch, JSON_PATCH)
    assert (refused.code, refused.reason) == (422, "Invalid")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"metadata": {"name": "No_Good"}}, "metadata.name"),
        ({"metadata": {"name": "x", "labels": {"a": "x" * 64}}}, "metadata.labels"),
        ({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}, "containers"),
        ({"spec": {"template": {"spec": {"containers": [{"name": "t"}]}}}}, "image"),
        ({"spec": {"backoffLimit": -1, **job()["spec"]} | {"backoffLimit": -1}}, "backoffLimit"),
    ],
)
def test_what_makes_no_sense_is_invalid_and_says_where(probe, change, word):
    refused = probe.create("jobs", job() | change)
    assert (refused.code, refused.reason) == (422, "Invalid")
    assert word in refused.message


def test_a_value_of_another_type_is_a_bad_request(probe):
    refused = probe.create("jobs", job(backoffLimit="many"))
    assert (refused.code, refused.reason) == (400, "BadRequest")


def test_a_dry_run_checks_and_stores_nothing(probe):
    reply = probe.create("jobs", job(), "dryRun=All")
    assert reply.code == 201
    assert reply.body["spec"]["parallelism"] == 1
    assert probe.get("jobs", "one").code == 404
    assert probe.create("jobs", job() | {"metadata": {"name": "X"}}, "dryRun=All").code == 422


def test_a_list_comes_in_pages_that_fit_together(probe):
    for i in range(5):
        made(probe, job(f"job-{i}"))
    made(probe, job("other") | {"metadata": {"name": "other", "labels": {"of": "others"}}})
    seen, query = [], "labelSelector=of%3Dtest&limit=2"
    page = probe.get("jobs", query=query).body
    made(probe, job("job-1a"))
    while True:
        seen += [item["metadata"]["name"] for item in page["items"]]
        if not page["metadata"].get("continue"):
            break
        page = probe.get("jobs", query=f"{query}&continue={page['metadata']['continue']}").body
    assert seen == [f"job-{i}" for i in range(5)]
    named = probe.get("jobs", query="fieldSelector=metadata.name%3Djob-3").body["items"]
    assert [item["metadata"]["name"] for item in named] == ["job-3"]


def test_what_a_user_may_do_is_told(probe):
    asked = {"verb": "create", "group": "batch", "resource": "jobs", "namespace": probe.namespace}
    review = {"spec": {"resourceAttributes": asked}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    reply = probe.ask("POST", path, review)
    assert (reply.code, reply.body["status"]["allowed"]) == (201, True)


def test_a_quota_refuses_with_its_words_and_forbidden(place, probe):
    place.set_quota(count__jobs_batch="1")
    made(probe, job())
    refused = probe.create("jobs", job("two"))
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert "exceeded quota" in refused.message


def test_a_log_that_is_not_there_yet_is_no_text(place, probe):
    """A Pod that has no node has an empty answer; one whose container waits, a bad request."""
    made(probe, job(suspend=False))
    name = pod_of(place)["metadata"]["name"]
    assert probe.get("pods", f"{name}/log", "container=none").code == 400
    assert probe.get("pods", "nobody/log").code == 404
    if place.cluster is not None:
        place.cluster.nodes.names.clear()
        made(probe, job("two", suspend=False))
        name = pod_of(place, "two")["metadata"]["name"]
    if not place.runs_pods or place.cluster is not None:
        assert probe.get("pods", f"{name}/log", "container=trial").code == 204


def test_nothing_is_stored_in_a_namespace_that_is_not_there(probe):
    path = "/apis/batch/v1/namespaces/nowhere-at-all/jobs"
    refused = probe.ask("POST", path, job())
    assert (refused.code, refused.reason) == (404, "NotFound")


def test_a_token_that_nobody_gave_is_unauthorized(probe):
    stranger = Probe(probe.kubeconfig, probe.namespace, token="forged")
    assert stranger.get("jobs").code == 401


@pytest.mark.kubernetes
def test_no_namespace_is_left():
    """The last test: what the others made is gone."""
    real.wait(real.LONG, real.all_are_gone)
