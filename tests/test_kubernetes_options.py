"""The section ``kubernetes:`` of the YAML, templates, and the runner without a server."""

import sys
from pathlib import Path

import pytest
import yaml

from runners.base import Job, Task, Unavailable
from runners.kube import template
from runners.kube.api import NotThere, Refusal, _refusal
from runners.kube.options import KubernetesOptions
from runners.kubernetes import KubernetesRunner
from scheduler import registry
from scheduler.config.errors import ConfigError
from scheduler.config.load import load_file

FILE = """\
schema: schedd/v1
name: e
parameters:
  - {name: x, type: range, bounds: [0.0, 1.0]}
objective: -loss
runner:
  type: kubernetes
  command: [train]
  kubernetes:
"""
POD = {"kind": "Pod", "spec": {"containers": [{"name": "trial", "image": "theirs"}]}}


def load(folder: Path, **section: object):
    """Return the definition of a file with this section."""
    lines = [f"    {line}\n" for line in yaml.safe_dump(section).splitlines()]
    path = folder / "e.yaml"
    path.write_text(FILE + "".join(lines))
    return load_file(path, registry)


def test_a_template_is_read_once_and_stored(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(POD))
    definition = load(tmp_path, image="i", template="job.yaml", kubeconfig="../config")
    (tmp_path / "job.yaml").unlink()
    assert definition.runner.options["template"] == POD
    assert definition.runner.options["kubeconfig"] == f"{tmp_path}/../config"
    stored = type(definition).model_validate_json(definition.canonical())
    assert registry.build_runner(stored, lambda: None).options.template == POD


def test_workdir_is_the_containers_and_not_this_machines(tmp_path: Path) -> None:
    assert load(tmp_path, image="i").runner.workdir is None


BAD = {
    "the template {} cannot be read: No such file or directory": {"template": "none.yaml"},
    "the template {} is not YAML": {"template": "bad.yaml"},
    "the template {} must hold one Job or one Pod": {"template": "two.yaml"},
    "the template must be a Job or a Pod; its kind is 'Deployment'": {
        "template": {"kind": "Deployment"}
    },
    "cannot set backoffLimit: write failures": {
        "template": {"kind": "Job", "spec": {"backoffLimit": 3}}
    },
    "spec must be a mapping": {"template": {"kind": "Job", "spec": [1]}},
    "image is missing": {"image": None},
    "give one of claim, secret and config_map": {"volumes": [{"mount": "/a"}]},
    "there is no key 'imagePullPolicy'": {"imagePullPolicy": "Always"},
}


@pytest.mark.parametrize("words", BAD)
def test_a_mistake_is_a_sentence_with_its_place(words: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "two.yaml").write_text("a: 1\n---\nb: 2\n")
    section = {"image": "i", **BAD[words]}
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **{k: v for k, v in section.items() if v is not None})
    (mistake,) = caught.value.mistakes
    place = tmp_path / str(section.get("template"))
    assert words.replace("{}", str(place)) in str(mistake)
    assert mistake.line is not None
    assert mistake.line >= 8


def test_a_workdir_in_the_container_begins_at_its_root(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(FILE + "    image: i\n  workdir: app\n")
    with pytest.raises(ConfigError, match="'app' is a folder where the trial runs; write it"):
        load_file(tmp_path / "e.yaml", registry)


def test_a_templates_image_will_do(tmp_path: Path) -> None:
    definition = load(tmp_path, template=POD)
    runner = registry.build_runner(definition, lambda: None)
    text = runner.render(Job("j", (Task("t", ("a",), tmp_path / "t"),)))
    (container,) = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "theirs"


def test_manifests_merge_as_kubectl_would() -> None:
    under = {
        "a": 1,
        "m": {"x": 1, "y": 1},
        "args": [1, 2],
        "tolerations": [{"key": "a"}],
        "containers": [{"name": "side"}, {"name": "trial", "env": [{"name": "E", "value": "1"}]}],
    }
    over = {
        "m": {"y": 2, "z": 2},
        "args": [3],
        "tolerations": [{"key": "a"}, {"key": "b"}],
        "containers": [
            {"name": "trial", "env": [{"name": "E", "valueFrom": {}}, {"name": "F"}]},
            {"name": "new"},
        ],
    }
    assert template.merged(under, over) == {
        "a": 1,
        "m": {"x": 1, "y": 2, "z": 2},
        "args": [3],
        "tolerations": [{"key": "a"}, {"key": "b"}],
        "containers": [
            {"name": "side"},
            {"name": "trial", "env": [{"name": "E", "valueFrom": {}}, {"name": "F"}]},
            {"name": "new"},
        ],
    }


def test_without_the_client_everything_but_the_server_works(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    runner = KubernetesRunner(KubernetesOptions(image="i"), lambda: None)
    job = Job("j", (Task("t", ("a",), tmp_path / "t"),))
    assert "kind: Job" in runner.render(job)
    answer = runner.submit([job])["j"]
    assert isinstance(answer, Unavailable)
    assert 'pip install "schedd[kubernetes]"' in str(answer)
    assert runner.check() == ((False, str(answer)),)


def test_the_release_of_the_client_that_sends_no_credentials_is_refused(monkeypatch) -> None:
    import kubernetes

    monkeypatch.setattr(kubernetes, "__version__", "36.0.0")
    runner = KubernetesRunner(KubernetesOptions(image="i"), lambda: None)
    ((works, sentence),) = runner.check()
    assert not works
    assert "sends no credentials" in sentence


@pytest.mark.parametrize("text", ["", "{}", "clusters: 1", "a: [", "contexts: []"])
def test_a_kubeconfig_that_cannot_be_used_is_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(text)
    options = KubernetesOptions(image="i", kubeconfig=str(tmp_path / "config"))
    runner = KubernetesRunner(options, lambda: None)
    with pytest.raises(Unavailable, match="no configuration of Kubernetes can be used"):
        runner.examine(Job("j", (Task("t", ("a",), tmp_path / "t"),)))


def status(code: int, reason: str, message: str, **details: str) -> bytes:
    import json

    body = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return json.dumps({**body, "details": details}).encode()


REFUSALS = [
    (403, status(403, "Forbidden", 'jobs is forbidden: exceeded quota: q, "x"'), True),
    (403, status(403, "Forbidden", "User cannot create resource jobs"), False),
    (403, b"<html>", True),
    (404, b"404 page not found", True),
    (409, status(409, "AlreadyExists", 'jobs.batch "j" already exists'), False),
    (409, status(409, "Conflict", "Operation cannot be fulfilled on resourcequotas"), True),
    (422, status(422, "Invalid", "spec is invalid"), False),
    (429, b"", True),
    (500, status(500, "InternalError", "failed calling webhook"), True),
    (503, b"", True),
    (401, status(401, "Unauthorized", "Unauthorized"), True),
]


@pytest.mark.parametrize(("code", "body", "passing"), REFUSALS)
def test_what_may_pass_is_told_from_what_stays(code: int, body: bytes, passing: bool) -> None:
    refusal = _refusal(code, body)
    assert isinstance(refusal, Refusal)
    assert refusal.is_passing is passing
    assert str(refusal)


@pytest.mark.parametrize(
    ("body", "real"),
    [
        (status(404, "NotFound", 'jobs.batch "j" not found', name="j"), True),
        (status(404, "NotFound", "the server could not find the requested resource"), False),
        (b"404 page not found", False),
        (b"[]", False),
    ],
)
def test_only_kubernetes_itself_states_that_there_is_no_job(body: bytes, real: bool) -> None:
    assert isinstance(_refusal(404, body), NotThere) is real
