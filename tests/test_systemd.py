"""schedd under a real systemd: killed, hung, stopped and ticking; its trials go on (minutes)."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from services.systemd import SCHEDD, Box, box, why_not

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(why_not() != "", reason=why_not()),
]

FILE = """\
schema: schedd/v1
name: {name}
parameters:
  - {{name: x, type: range, bounds: [0.0, 1.0]}}
objective: "-loss"
generation_strategy: {{nodes: [{{generator: sobol}}]}}
trials: {{total_trials: 3, max_pending_trials: 2}}
missing_metrics: {{retry_for: 0s}}
polling: {{interval: 0.2s}}
runner: {{type: local, command: [/opt/schedd/bin/python, trial.py]}}
"""
TRIAL = """\
import os, time
place = os.environ["SCHEDD_TRIAL_DIR"]
mine = "/tmp/" + place.replace("/", "-")
open(mine, "x").close()
with open("/var/tmp/starts", "a") as out:
    print(place, os.getpid(), file=out)
while not os.path.exists("/srv/go"):
    time.sleep(0.05)
os.remove(mine)
assert not [name for name in os.environ if "NOTIFY" in name or "CREDENTIALS" in name]
with open(place + "/metrics.jsonl", "a") as out:
    print('{"loss": %s}' % os.environ["SCHEDD_PARAM_X"], file=out)
"""
SOON = """\
[Service]
RestartSec=100ms
WatchdogSec=20
"""
URL = "sqlite:////var/lib/schedd/schedd.db"
PATIENCE = 240.0


@pytest.fixture
def machine() -> Iterator[Box]:
    with box() as made:
        made.path("/srv/trial.py").write_text(TRIAL)
        yield made
        print(made.run("journalctl", "--no-pager", "-o", "short-precise"))  # shown on a failure


def until(holds, what: str):
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def installed(machine: Box, *options: str) -> None:
    machine.run(SCHEDD, "install-service", *options)
    machine.run("systemd-sysusers", "schedd.conf")
    drop_in(machine, "schedd.service", SOON)


def drop_in(machine: Box, unit: str, text: str) -> None:
    folder = machine.path(f"/etc/systemd/system/{unit}.d")
    folder.mkdir(exist_ok=True)
    (folder / "test.conf").write_text(text)
    machine.run("systemctl", "daemon-reload")


def submitted(machine: Box, name: str, url: str = URL, user: str = "schedd") -> None:
    machine.path(f"/srv/{name}.yaml").write_text(FILE.format(name=name))
    words = (SCHEDD, "submit", f"/srv/{name}.yaml", "--storage", url)
    machine.run("runuser", "-u", user, "--", *words)


def starts(machine: Box) -> dict[str, str]:
    """Return the pids of the trials that were started, by folder, none of them twice."""
    path = machine.path("/var/tmp/starts")
    lines = path.read_text().splitlines() if path.exists() else []
    assert len({line.split()[0] for line in lines}) == len(lines), lines
    return dict(line.split() for line in lines)


def alive(machine: Box) -> bool:
    return all(machine.path(f"/proc/{pid}").exists() for pid in starts(machine).values())


def statuses(machine: Box, url: str = URL, user: str = "schedd") -> list[str]:
    words = (SCHEDD, "status", "--json", "--storage", url)
    listed = json.loads(machine.run("runuser", "-u", user, "--", *words))
    return [one["status"] for one in listed]


def restarts(machine: Box) -> int:
    return int(machine.show("schedd", "NRestarts"))


def kill(machine: Box, signal: str) -> str:
    """Signal the daemon alone, and return its pid."""
    pid = machine.show("schedd", "MainPID")
    machine.run("kill", f"-{signal}", pid)
    return pid


def test_trials_outlive_the_service(machine):
    installed(machine)
    machine.run("systemctl", "start", "schedd")
    submitted(machine, "one")
    until(lambda: len(starts(machine)) == 2, "two trials run")

    kill(machine, "KILL")
    until(lambda: restarts(machine) == 1, "it is started again")
    machine.run("systemctl", "restart", "schedd")
    machine.run("systemctl", "stop", "schedd")
    assert machine.show("schedd", "Result") == "success"
    assert alive(machine)

    machine.run("systemctl", "start", "schedd")
    kill(machine, "STOP")
    until(lambda: restarts(machine) == 1, "the watchdog ends what hangs")
    assert "Watchdog timeout" in machine.journal("schedd")
    assert "Current thread" in machine.journal("schedd")
    assert alive(machine)
    assert len(starts(machine)) == 2

    machine.path("/srv/go").touch()
    until(lambda: statuses(machine) == ["COMPLETED"], "it ends")
    assert len(starts(machine)) == 3


def shown(document: str, language: str, words: str) -> list[str]:
    """Return the lines of the block of a document that has these words."""
    text = (Path(__file__).parents[1] / document).read_text()
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return next(block for block in blocks if words in block).splitlines()


def test_the_documents_make_it_a_service(machine):
    """Whatever they show is typed as it stands, and an experiment runs to its end."""
    commands = shown("systemd/README.md", "sh", "systemctl enable --now schedd")
    assert set(shown("README.md", "sh", "install-service")) < set(commands)
    machine.run("mkdir", "/srv/first")
    machine.path("/srv/go").touch()
    machine.path("/srv/first/trial.py").write_text(TRIAL)
    machine.path("/srv/first/experiment.yaml").write_text(FILE.format(name="first"))
    for command in commands:
        machine.run("sh", "-c", command)
    until(lambda: statuses(machine) == ["COMPLETED"], "it ends")
    machine.run("systemctl", "stop", "schedd")

    (line,) = shown("README.md", "crontab", "tick")
    assert line[:10] == "* * * * * "
    machine.run("sh", "-c", f"cd /srv/first && {SCHEDD} submit experiment.yaml")
    until(lambda: machine.run("sh", "-c", line[10:]) or cron_ended(machine), "cron ends it")


def cron_ended(machine: Box) -> bool:
    return statuses(machine, "sqlite:////srv/first/schedd.db", "root") == ["COMPLETED"]


def test_what_only_a_person_can_mend_is_not_tried_again(machine):
    installed(machine)
    machine.run("mkdir", "-m", "700", "/var/lib/schedd")
    machine.path("/var/lib/schedd/schedd.db").write_text("no database" * 100)
    machine.run("chown", "-R", "schedd:", "/var/lib/schedd")
    assert machine.do("systemctl", "start", "schedd").returncode != 0
    assert machine.show("schedd", "ActiveState") == "failed"
    assert (machine.show("schedd", "ExecMainStatus"), restarts(machine)) == ("78", 0)
    assert "file is not a database" in machine.journal("schedd")
    drop_in(machine, "schedd.service", f"[Service]\nExecStart=\nExecStart={SCHEDD} x\n")
    assert machine.do("systemctl", "start", "schedd").returncode != 0
    assert (machine.show("schedd", "ExecMainStatus"), restarts(machine)) == ("2", 0)


def test_a_database_that_does_not_answer_is_tried_again_and_its_password_is_nowhere(machine):
    installed(machine)
    secret = machine.path("/etc/credstore/schedd.storage")
    secret.parent.mkdir(exist_ok=True)
    secret.touch(0o600)
    secret.write_text("postgresql://schedd:canary@127.0.0.1:1/schedd\n")
    machine.run("systemctl", "start", "--no-block", "schedd")
    until(lambda: restarts(machine) >= 2, "it is tried again and again")
    said = machine.journal("schedd") + machine.run("systemctl", "show", "schedd")
    machine.run("systemctl", "stop", "schedd")
    assert "127.0.0.1" in said
    assert "status=71" in said
    assert "canary" not in said


def test_a_timer_ticks_without_a_daemon(machine):
    installed(machine)
    drop_in(machine, "schedd-tick.timer", "[Timer]\nOnActiveSec=0\nOnUnitActiveSec=1s\n")
    machine.run("mkdir", "-m", "700", "/var/lib/schedd")
    machine.run("chown", "schedd:", "/var/lib/schedd")
    for name in ("one", "two"):
        submitted(machine, name)
    machine.run("systemctl", "start", "schedd-tick.timer")
    until(lambda: len(starts(machine)) == 4, "both have two trials")
    machine.run("systemctl", "stop", "schedd-tick.timer", "schedd-tick.service")
    assert alive(machine)
    machine.path("/srv/go").touch()
    machine.run("systemctl", "start", "schedd-tick.timer")
    until(lambda: set(statuses(machine)) == {"COMPLETED"}, "both end")
    assert len(starts(machine)) == 6


def test_users_have_daemons_of_their_own(machine):
    """One that root starts for them, and one under their own service manager."""
    installed(machine)
    machine.run("useradd", "--create-home", "alice")
    machine.run("systemctl", "start", "schedd@alice")
    machine.path("/srv/go").touch()
    url = "sqlite:////var/lib/schedd-alice/schedd.db"
    submitted(machine, "hers", url, "alice")
    until(lambda: statuses(machine, url, "alice") == ["COMPLETED"], "it ends")

    manager = ("-p", "User=alice", "-p", "Delegate=yes", "-p", "RuntimeDirectory=alice")
    where = "XDG_RUNTIME_DIR=/run/alice"
    machine.run(
        *("systemd-run", "--unit=alice", *manager, "-p", "RuntimeDirectoryMode=0700"),
        *(f"--setenv={where}", "/lib/systemd/systemd", "--user"),
    )
    her = ("runuser", "-u", "alice", "--", "env", "HOME=/home/alice", where)
    reload = (*her, "systemctl", "--user", "daemon-reload")
    until(lambda: not machine.do(*reload).returncode, "it is up")
    machine.run("mkdir", "/srv/first")
    machine.path("/srv/first/trial.py").write_text(TRIAL)
    machine.path("/srv/first/experiment.yaml").write_text(FILE.format(name="first"))
    paths = "PATH=/opt/schedd/bin:/usr/bin:/bin"
    for command in shown("systemd/README.md", "sh", "--user"):
        machine.run(*her, paths, "sh", "-c", command)
    own = "sqlite:////home/alice/.local/state/schedd/schedd.db"
    until(lambda: statuses(machine, own, "alice") == ["COMPLETED"], "it ends")


def test_a_daemon_in_the_narrow_sandbox_fits_models(machine):
    installed(machine, "--no-local-trials")
    machine.run("systemctl", "start", "schedd")
    text = FILE.format(name="far").replace("generator: sobol", "generator: botorch")
    text = text.replace("total_trials: 3", "total_trials: 6")
    text = text[: text.index("runner:")] + "runner: {type: external}\n"
    machine.path("/srv/far.yaml").write_text(text)
    her = ("runuser", "-u", "schedd", "--", "env", f"SCHEDD_STORAGE={URL}", SCHEDD)
    machine.run(*her, "submit", "/srv/far.yaml")
    for index in range(6):
        until(lambda: not machine.do(*her, "next", "far").returncode, "a trial is proposed")
        machine.run(*her, "complete", str(index), "--metric", f"loss={index}")
    until(lambda: statuses(machine) == ["COMPLETED"], "it ends")
    made = [trial["generator"] for trial in json.loads(machine.run(*her, "trials", "--json"))]
    assert made[-1] == "botorch", made
