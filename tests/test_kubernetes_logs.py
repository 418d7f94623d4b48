"""What a trial prints, as it reaches its folder from a cluster: whole, once, and harmless."""

import os
from contextlib import closing
from dataclasses import replace

import pytest
from services.kubernetes import schema
from services.kubernetes.bench import cluster, runner, start
from services.kubernetes.cluster import FakeCluster
from services.kubernetes.runner import batch, host_path, job, look, make, options, text

from runners.base import JobState
from runners.kube import courier
from runners.kube.snapshot import Looks
from runners.kubernetes import KubernetesRunner
from runners.testing import deploy, ref_to, wait_for

pytestmark = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())
__all__ = ["cluster", "runner"]


# -- output while it runs


def test_lines_come_as_they_are_printed_and_each_once(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = start(runner, one)
    expected = ""
    for step in range(5):
        cluster.say(one.name, f'{{"step": {step}}}')
        expected += f'{{"step": {step}}}\n'
        reader = runner if step % 2 else make(cluster)
        assert look(reader, one, uid).state is JobState.RUNNING
        assert text(one) == expected
        look(reader, one, uid)
        assert text(one) == expected
    cluster.end(one.name)
    assert look(runner, one, uid).state is JobState.SUCCEEDED
    assert text(one) == expected


def test_lines_of_one_moment_come_each_once(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = start(runner, one)
    lines = cluster.container(one.name).lines
    now = cluster.now()
    for number in range(30):
        lines.append((now + (number // 10) * 0.4, f"line {number}\n".encode()))
        if number % 3 == 0:
            look(runner, one, uid)
    cluster.end(one.name)
    look(runner, one, uid)
    assert text(one) == "".join(f"line {number}\n" for number in range(30))


@pytest.mark.parametrize(
    "raw",
    [
        b"no newline at the end",
        b"\n\n\n",
        b"\xff\xfe\x00binary\n",
        b"2026-11-22T02:00:00Z a line that begins as a stamp does\n",
        b" \n \t\n",
        b"carriage\rreturn\r\n",
        b"x" * 300_000 + b"\n",
        "größe ≤ 5 µm\u2028next\n".encode(),
        b"-----BEGIN SCHEDD FILE ../../etc/passwd-----\nx\n-----END SCHEDD FILE-----\n",
        b"-----BEGIN SCHEDD FILE never-ended-----\nx\n",
        b'{"loss": NaN}\n{"a": ' + b"[" * 100_000 + b"\n",
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_hostile_output_arrives_as_it_is_and_does_no_harm(cluster, runner, tmp_path, raw):
    one = job(tmp_path)
    uid = start(runner, one)
    lines = raw.splitlines(keepends=True) if b"\r" not in raw else [raw]
    cluster.container(one.name).lines.extend((cluster.now(), line) for line in lines)
    cluster.end(one.name)
    assert look(runner, one, uid).state is JobState.SUCCEEDED
    got = (one.tasks[0].directory / "stdout.log").read_bytes()
    assert got in (raw, raw + b"\n")
    outside = {path.name for path in tmp_path.iterdir()} - {"cluster", one.name}
    assert outside == set()


def test_an_output_without_end_is_cut_and_its_last_lines_are_kept(cluster, tmp_path):
    runner = make(cluster, output_limit=8192)
    one = job(tmp_path)
    uid = start(runner, one)
    cluster.say(one.name, *(f"{number:099d}" for number in range(500)))
    cluster.say(one.name, '{"loss": 0.25}')
    cluster.end(one.name)
    assert look(runner, one, uid).state is JobState.SUCCEEDED
    got = text(one)
    assert got.endswith('{"loss": 0.25}\n')
    assert got.startswith(f"{0:099d}\n")
    assert len(got) < 8192 + (1 << 20) + 200


def test_pods_are_asked_for_output_while_they_have_some_and_so_many_at_once(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(courier, "AT_ONCE", 2)
    now = [0.0]
    runner = KubernetesRunner(
        options(cluster), lambda: None, lambda: now[0], Looks(lambda: now[0])
    )
    names = ("one", "two", "three")
    uids = deploy(runner, *(job(tmp_path, name=name) for name in names))
    refs = [ref_to(job(tmp_path, name=name), uids[name]) for name in names]

    def asked(seconds: float) -> list[str]:
        now[0] += seconds
        cluster.front.requests.clear()
        assert {report.state for report in runner.poll(refs).values()} == {JobState.RUNNING}
        logs = [r.name for r in cluster.front.requests if r.resource == "pods/log"]
        return sorted(name.rsplit("-", 1)[0] for name in logs)

    assert asked(2.0) == ["one", "two"]
    assert asked(2.0) == ["three"]
    assert asked(2.0) == []
    cluster.say("two", "words")
    assert asked(2.0) == ["one", "two"]
    assert asked(2.0) == ["three", "two"]
    assert [len(asked(2.0)) for _ in range(20)].count(0) > 10
    for name in names:
        cluster.end(name)
    assert {report.state for report in runner.poll(refs).values()} == {JobState.RUNNING}
    now[0] += 2.0
    assert {report.state for report in runner.poll(refs).values()} == {JobState.SUCCEEDED}
    runner.close()


# -- what the command sees

WORDS = (
    "$(SCHEDD_TRIAL_INDEX)",
    "$$",
    "$x",
    "${y}",
    "$",
    "a $(b) $$(c) $d",
    "$$$(X)",
    "'\"\\",
    "",
)


@pytest.mark.parametrize("tasks", [1, 2])
def test_dollars_arrive_as_they_are(tmp_path, tasks):
    script = 'printf "<%s>\\n" "$@" "$SAID"'
    said = " ".join(WORDS)
    with FakeCluster(tmp_path / "cluster") as cluster, closing(make(cluster)) as runner:
        one = batch(tmp_path, *("true" for _ in range(tasks)))
        made = tuple(
            replace(t, argv=("sh", "-c", script, "_", *WORDS), env={"SAID": f"{said} {i}"})
            for i, t in enumerate(one.tasks)
        )
        one = replace(one, tasks=made)
        deploy(runner, one)
        assert wait_for(runner, one).state is JobState.SUCCEEDED
    for i in range(tasks):
        expected = [*WORDS, f"{said} {i}"]
        assert text(one, task=i) == "".join(f"<{word}>\n" for word in expected)


# -- a folder that the trial can write to


def test_a_log_that_the_trial_made_a_link_harms_no_other_file(cluster, tmp_path):
    runner = make(cluster, template=host_path(tmp_path))
    one = job(tmp_path)
    uid = start(runner, one)
    cluster.say(one.name, "first")
    look(runner, one, uid)
    victim = tmp_path / "victim"
    victim.write_text("precious " * 100)
    log = one.tasks[0].directory / "stdout.log"
    log.unlink()
    log.symlink_to(victim)
    cluster.say(one.name, "second")
    look(make(cluster, template=host_path(tmp_path)), one, uid)
    cluster.end(one.name)
    look(runner, one, uid)
    assert victim.read_text() == "precious " * 100


def test_a_log_that_the_trial_made_a_pipe_stops_nobody(cluster, tmp_path):
    runner = make(cluster, template=host_path(tmp_path))
    one, two = job(tmp_path), job(tmp_path, name="two")
    uids = deploy(runner, one, two)
    os.mkfifo(one.tasks[0].directory / "stdout.log")
    for what in (one, two):
        cluster.say(what.name, "words")
        cluster.end(what.name)
    refs = [ref_to(what, uids[what.name]) for what in (one, two)]
    assert runner.poll(refs)["two"].state is JobState.SUCCEEDED
