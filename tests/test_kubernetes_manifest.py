"""Manifests: what stands in them, as files to read, and as Kubernetes' own schema has them.

To write the files anew: SCHEDD_WRITE_GOLDEN=1 pytest tests/test_kubernetes_manifest.py
"""

import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from services.kubernetes import schema
from services.kubernetes.containers import expanded

from runners.base import Job, Rejected, Resources, Task
from runners.kube import faults, manifest
from runners.kube.options import KubernetesOptions
from runners.kube.pod import escaped, is_shared
from runners.kubernetes import KubernetesRunner

GOLDEN = Path(__file__).parent / "golden" / "kubernetes"
TRIALS = Path("/srv/trials/tune.trials/3/a1")


def task(name: str = "3_0", folder: Path = TRIALS, **env: str) -> Task:
    env = {"SCHEDD_EXPERIMENT": "tune", "SCHEDD_TRIAL_INDEX": "3", "SCHEDD_ATTEMPT": "1", **env}
    argv = ("python", "train.py", "--out", f"{folder}/out", "price: $(HOME) $$5 $9")
    return Task(name, argv, folder, env, {"parameters.json": '{\n  "lr": 0.1\n}'})


ONE = Job("schedd-1f2e3d4c-t3-a1", (task(SCHEDD_PARAM_LR="0.1"),))
BATCH = Job(
    "schedd-1f2e3d4c-t3-a1",
    tuple(
        task(f"3_{i}", TRIALS / f"3_{i}", SCHEDD_PARAM_LR=lr, QUOTE="it's $HOME")
        for i, lr in enumerate(("0.1", "0.2"))
    ),
    hold=True,
)
NEEDS = Resources(cpus=4, gpus=2, memory=16 << 30, time=5400.5)
FULL = KubernetesOptions.model_validate(
    {
        "context": "lab",
        "namespace": "ml",
        "image": "registry.example.org/train:1",
        "service_account": "trial",
        "run_as_user": 1000,
        "queue": "team-a",
        "env_secrets": ["wandb"],
        "node_selector": {"gpu": "a100"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "volumes": [
            {"mount": "/data", "claim": "datasets", "sub_path": "cifar", "read_only": True},
            {"mount": "/etc/train", "config_map": "train"},
            {"mount": "/keys", "secret": "keys"},
        ],
        "template": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "ignored", "labels": {"team": "vision"}},
            "spec": {
                "activeDeadlineSeconds": 86400,
                "template": {
                    "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
                    "spec": {
                        "priorityClassName": "batch",
                        "imagePullSecrets": [{"name": "registry"}],
                        "securityContext": {"runAsNonRoot": False},
                        "tolerations": [{"key": "spot", "operator": "Exists"}],
                        "affinity": {
                            "nodeAffinity": {
                                "requiredDuringSchedulingIgnoredDuringExecution": {
                                    "nodeSelectorTerms": [
                                        {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
                                        {"matchExpressions": [{"key": "b", "operator": "Exists"}]},
                                    ]
                                }
                            }
                        },
                        "containers": [
                            {
                                "name": "trial",
                                "env": [{"name": "SCHEDD_ATTEMPT", "value": "theirs"}],
                                "resources": {"limits": {"cpu": "8"}},
                                "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
                            }
                        ],
                        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
                    },
                },
            },
        },
    }
)
PLAIN = KubernetesOptions(image="python:3.12-slim")
SHARED = KubernetesOptions.model_validate(
    {"image": "python:3.12-slim", "volumes": [{"mount": "/srv/trials", "claim": "trials"}]}
)
CASES = {
    "plain": (ONE, PLAIN),
    "full": (replace(ONE, resources=NEEDS, avoid=("node-1", "node-2"), hold=True), FULL),
    "batch": (replace(BATCH, workdir=Path("/app"), resources=NEEDS), PLAIN),
    "shared": (ONE, SHARED),
}


def rendered(job: Job, options: KubernetesOptions) -> str:
    return KubernetesRunner(options, lambda: None).render(job)


@pytest.mark.parametrize("name", CASES)
def test_a_manifest_is_as_it_was_written_down(name: str) -> None:
    text, path = rendered(*CASES[name]), GOLDEN / f"{name}.yaml"
    if os.environ.get("SCHEDD_WRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()
    assert yaml.safe_load(text) == manifest.manifest(*CASES[name])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("version", ["v1.29.0", "v1.33.0", "v1.37.0"])
def test_a_manifest_fits_the_published_schema(name: str, version: str) -> None:
    if schema.why_not():
        pytest.skip(schema.why_not())
    assert schema.problems(manifest.manifest(*CASES[name]), version=version) == []


def spec_of(name: str) -> dict:
    return manifest.manifest(*CASES[name])["spec"]["template"]["spec"]


def test_nothing_runs_before_it_may_and_nothing_runs_twice() -> None:
    for name, (job, options) in CASES.items():
        spec = manifest.manifest(job, options)["spec"]
        assert spec["suspend"] is True, name
        assert "ttlSecondsAfterFinished" not in spec
        assert spec["template"]["spec"]["restartPolicy"] == "Never"
        key = "backoffLimit" if len(job.tasks) == 1 else "backoffLimitPerIndex"
        assert spec[key] == 0


def test_the_restricted_profile_is_the_default_and_a_template_may_loosen_it() -> None:
    pod = spec_of("plain")
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    locked = pod["containers"][0]["securityContext"]
    assert locked == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert pod["automountServiceAccountToken"] is False
    assert spec_of("full")["securityContext"]["runAsNonRoot"] is False


def test_what_schedd_sets_wins_over_the_template() -> None:
    (container,) = spec_of("full")["containers"]
    env = {each["name"]: each["value"] for each in container["env"]}
    assert env["SCHEDD_ATTEMPT"] == "1"
    assert container["resources"]["limits"] == {
        "cpu": "8",
        "memory": "16Gi",
        "nvidia.com/gpu": "2",
    }
    assert {m["mountPath"] for m in container["volumeMounts"]} >= {"/dev/shm", "/data", "/keys"}
    made = manifest.manifest(*CASES["full"])
    assert made["metadata"]["name"] == "schedd-1f2e3d4c-t3-a1"
    assert made["metadata"]["labels"]["team"] == "vision"


def test_nodes_that_failed_are_avoided_where_there_are_others() -> None:
    affinity = spec_of("full")["affinity"]["nodeAffinity"]
    (wish,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    assert wish["weight"] == 100
    assert [f["values"] for f in wish["preference"]["matchFields"]] == [["node-1"], ["node-2"]]
    given = FULL.template["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    assert affinity[required] == given[required]


@pytest.mark.parametrize(
    "text", ["", "$", "$$", "$HOME", "$(HOME)", "a$$b$(c)$", "$$(X)", "$(", "€$(", "$)", "$$$"]
)
def test_kubernetes_fills_in_nothing_of_the_users(text: str) -> None:
    assert expanded(escaped(text), {"HOME": "/root", "X": "x", "c": "c"}) == text


def test_the_script_of_a_batch_trials_task_is_its_command(tmp_path: Path) -> None:
    """It is run by this machine's sh, in a folder of ours."""
    folder = tmp_path / "it's a folder"
    argv = ("sh", "-c", 'printf "%s|" "$0" "$QUOTE" "$SAME" > "$1/said"', "a 'b' $(c) \\n", "")
    tasks = tuple(
        Task(str(i), (*argv[:4], f"{folder}/{i}"), folder / str(i), {"QUOTE": f"$x'{i}"})
        for i in range(2)
    )
    tasks = tuple(
        replace(t, env={**t.env, "SAME": "s"}, files={"p.json": "{'x': %s}\n\\t"}) for t in tasks
    )
    made = manifest.manifest(Job("batch", tasks), PLAIN)["spec"]["template"]
    script = made["metadata"]["annotations"]["schedd.io/file-1"]
    subprocess.run(["sh", "-c", script], check=True, env={"SAME": "s", "PATH": os.environ["PATH"]})
    assert (folder / "1" / "said").read_text() == "a 'b' $(c) \\n|$x'1|s|"
    assert (folder / "1" / "p.json").read_text() == "{'x': %s}\n\\t"
    (container,) = made["spec"]["containers"]
    assert [each["name"] for each in container["env"]] == ["JOB_COMPLETION_INDEX", "SAME"]
    assert shlex.split(script.splitlines()[0])[:2] == ["mkdir", "-p"]


def test_a_volume_at_the_trials_folder_is_the_trials_folder() -> None:
    names = {volume["name"] for volume in spec_of("shared")["volumes"]}
    assert "schedd-trial" not in names
    assert is_shared(TRIALS, SHARED)
    assert not is_shared(Path("/srv/trials-2/a1"), SHARED)
    read_only = SHARED.volumes[0].model_copy(update={"read_only": True})
    assert not is_shared(TRIALS, SHARED.model_copy(update={"volumes": (read_only,)}))


def test_the_token_tells_jobs_of_one_name_apart() -> None:
    here = manifest.token("a", [Path("/x")])
    assert here == manifest.token("a", [Path("/x")])
    assert here not in (manifest.token("a", [Path("/y")]), manifest.token("b", [Path("/x")]))


IMPOSSIBLE = {
    "its name is too long": replace(ONE, name="a" * 64),
    "with no - at its ends": replace(ONE, name="-a"),
    "its name is": replace(BATCH, name="a" * 62),
    "needs a folder of its own": replace(ONE, tasks=()),
    "for other runners": replace(ONE, resources=Resources(nodes=2)),
    "is not an absolute path in the container": replace(ONE, workdir=Path("app")),
    "has no command": replace(ONE, tasks=(replace(task(), argv=()),)),
    "cannot be a folder of a container": replace(ONE, tasks=(task(folder=Path("/a:b/c")),)),
    "cannot be the name of a file": replace(ONE, tasks=(replace(task(), files={"a/b": ""}),)),
    "name of an environment variable": replace(ONE, tasks=(replace(task(), env={"=": ""}),)),
    "NUL character": replace(ONE, tasks=(replace(task(), argv=("a\0",)),)),
    "cannot be encoded": replace(ONE, tasks=(replace(task(), argv=("\udc80",)),)),
    "name of a shell's variable": replace(
        BATCH, tasks=tuple(replace(t, env={"a.b": ""}) for t in BATCH.tasks)
    ),
    "is set by Kubernetes": replace(
        BATCH,
        tasks=tuple(replace(t, env={"JOB_COMPLETION_INDEX": "1"}) for t in BATCH.tasks),
    ),
    "use a smaller batch_size": replace(
        BATCH, tasks=tuple(replace(t, files={"x": "y" * 200_000}) for t in BATCH.tasks)
    ),
    "its manifest has": replace(ONE, tasks=(replace(task(), argv=("a", "b" * 2_000_000)),)),
    "where its tasks meet": replace(
        BATCH, tasks=tuple(task(f"{i}", Path(f"/tmp/{i}")) for i in range(2))
    ),
}


@pytest.mark.parametrize("words", IMPOSSIBLE)
def test_what_can_never_run_is_refused_before_the_server_is_asked(words: str) -> None:
    job = IMPOSSIBLE[words]
    assert words in str(faults.fault(job, PLAIN))
    with pytest.raises(Rejected, match="is impossible"):
        rendered(job, PLAIN)
