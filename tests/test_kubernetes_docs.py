"""What docs/kubernetes.md and configs/kubernetes say is so: files load, commands run."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cli_bench import schedd
from services.kubernetes import schema
from services.kubernetes.cluster import FakeCluster
from services.kubernetes.runner import job
from services.kubernetes.selection import matches_labels

from runners.kube.manifest import manifest
from runners.kube.options import KubernetesOptions
from runners.kubernetes import KubernetesRunner
from scheduler import registry
from scheduler.config.load import load_file, load_text

__all__ = ["schedd"]

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs" / "kubernetes"
DOCS = (ROOT / "docs" / "kubernetes.md").read_text()
MANIFESTS = {
    f"{path.name}: {document['kind']}": document
    for path in sorted(CONFIGS.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
    if "kind" in document
}
ROLE = MANIFESTS["role.yaml: Role"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    with FakeCluster(tmp_path / "cluster") as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
        yield cluster


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """Where verbs are called."""
    return tmp_path


def doctor() -> list[tuple[bool, str]]:
    runner = KubernetesRunner(KubernetesOptions(image="busybox:1.36"), lambda: None)
    try:
        return list(runner.check())
    finally:
        runner.close()


def test_the_documented_role_is_the_one_in_configs() -> None:
    (shown,) = (yaml.safe_load(text) for text in blocks("yaml") if "kind: Role" in text)
    assert shown == ROLE


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_manifest_fits_the_published_schema(name: str) -> None:
    if schema.why_not():
        pytest.skip(schema.why_not())
    assert schema.problems(MANIFESTS[name]) == []


def test_with_the_documented_role_everything_works(cluster: FakeCluster) -> None:
    cluster.grant([ROLE])
    cluster.add_quota(count__jobs_batch=5)
    found = doctor()
    assert all(ok for ok, _ in found), found
    assert cluster.api.rbac.denied == []
    assert any("of 5 count/jobs.batch" in text for _, text in found)


@pytest.mark.parametrize(
    ("resource", "verb"),
    [(rule["resources"][0], verb) for rule in ROLE["rules"] for verb in rule["verbs"]],
)
def test_without_one_of_its_verbs_doctor_says_which(cluster, resource: str, verb: str) -> None:
    less = [
        {**rule, "verbs": [v for v in rule["verbs"] if v != verb]}
        if rule["resources"][0] == resource
        else rule
        for rule in ROLE["rules"]
    ]
    cluster.grant([{"rules": less}])
    found = doctor()
    assert any(f"{verb} {resource}" in text for _, text in found)
    assert all(ok for ok, _ in found) == (resource == "events")


def test_the_example_is_a_file_of_an_experiment(cluster: FakeCluster, schedd) -> None:
    path = CONFIGS / "experiment.yaml"
    assert load_file(path, registry).runner.type == "kubernetes"
    status, out, err = schedd("validate", "--deep", str(path))
    assert (status, err) == (0, ""), out


def test_the_commands_shown_do_what_they_say(cluster, schedd, monkeypatch, tmp_path) -> None:
    text = blocks("yaml")[0].replace("context: lab", "context: fake")
    text = text.replace("namespace: ml", "namespace: trials")
    (Path.cwd() / "experiment.yaml").write_text(text)
    shown = [line.partition("#")[0].split() for line in blocks("sh")[0].splitlines()]
    assert [command[:2] for command in shown] == [
        ["schedd", verb] for verb in ("doctor", "validate", "plan", "run")
    ]
    for command in shown[:-1]:
        status, out, err = schedd(*command[1:])
        assert status == 0, (command, out, err)
    assert "kind: Job" in out
    cluster.add_quota(count__jobs_batch=0)
    status, out, err = schedd("validate", "--deep", "experiment.yaml")
    assert (status, "exceeded quota" in err) == (2, True), (out, err)


def test_every_yaml_block_loads() -> None:
    (first, *_), base = blocks("yaml"), yaml.safe_load(blocks("yaml")[0])
    for text in blocks("yaml"):
        if "kind: Role" not in text:
            merged = {**base, **yaml.safe_load(text)}
            assert load_text(yaml.safe_dump(merged), "block", registry)
    assert "kubernetes:" in first


def test_every_file_that_is_shown_or_applied_exists() -> None:
    links = re.findall(r"\]\(\.\./([^)]+)\)", DOCS)
    words = [word for block in blocks("sh") for word in shlex.split(block, comments=True)]
    named = [word.partition("file=")[2] or word for word in words if "configs/" in word]
    assert named
    for path in (*links, *named):
        assert (ROOT / path).exists(), path


def test_the_labels_of_what_may_be_left_are_those_of_our_jobs(tmp_path: Path) -> None:
    (selector,) = re.findall(r"`kubectl delete jobs .*-l (\S+)`", DOCS)
    made = manifest(job(tmp_path), KubernetesOptions(image="busybox:1"))
    labels = made["metadata"]["labels"]
    assert matches_labels(selector.replace("NAME", "tests"), labels)
    assert not matches_labels(selector.replace("NAME", "another"), labels)


def test_every_option_is_explained() -> None:
    for name in KubernetesOptions.model_fields:
        assert f"`{name}`" in DOCS, name
