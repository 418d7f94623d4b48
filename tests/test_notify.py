"""Who is told of what: derived purely, delivered from threads that nobody waits for."""

import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cli_bench import FILE, TRIAL, process
from places import storage, urls
from simulation.bench import definition

from scheduler.deliver import Undelivered, deliver
from scheduler.model.experiment import Event, ExperimentState
from scheduler.model.notifications import Notification
from scheduler.model.observation import Outcome
from scheduler.notify import News, Notifier, messages, new_bests
from scheduler.storage import schema
from scheduler.storage.store import Store

__all__ = ["storage", "urls"]

SLACK = {"events": ["trial_failed"], "type": "webhook", "url_env": "SLACK_URL"}
ALL = ("new_best", "trial_failed", "stalled", "moving_again", "stopped", "completed")


def receiver(**changes):
    return Notification.model_validate({**SLACK, **changes})


def command(code, **changes):
    given = {"type": "command", "url_env": None, "command": [sys.executable, "-c", code]}
    return receiver(**given, **changes)


def state(*losses, **changes):
    outcomes = [Outcome(i, f"{i}_0", {"loss": loss}) for i, loss in enumerate(losses)]
    return ExperimentState(definition(**changes), outcomes=outcomes)


def completed(*indexes):
    return tuple(Event(5.0, "trial_completed", "", index, 1) for index in indexes)


@pytest.mark.parametrize(
    ("losses", "new", "best"),
    [
        ([3.0], [0], [0]),
        ([3.0, 2.0], [1], [1]),
        ([2.0, 3.0], [1], []),
        ([2.0, 2.0], [1], []),
        ([4.0, 3.0, 2.0], [1, 2], [2]),
        ([4.0, 3.0], [], []),
    ],
)
def test_a_new_best_is_one_that_just_completed_and_beats_all(losses, new, best):
    assert [o.trial_index for o in new_bests(state(*losses), completed(*new))] == best


def test_an_arm_that_breaks_a_constraint_is_no_best():
    made = state(3.0, 1.0, outcome_constraints=["size <= 1"])
    made.outcomes[0].means["size"], made.outcomes[1].means["size"] = 1, 2
    assert new_bests(made, completed(1)) == []


def test_of_several_objectives_every_new_one_on_the_front_is_told():
    made = state(
        *(1.0, 2.0, 3.0),
        objective=None,
        objectives=[{"metric": "loss", "minimize": True}, {"metric": "speed", "minimize": False}],
    )
    for outcome, speed in zip(made.outcomes, (1.0, 2.0, 1.5), strict=True):
        outcome.means["speed"] = speed
    assert [o.trial_index for o in new_bests(made, completed(1, 2))] == [1]


def test_messages_are_of_the_wanted_topics_and_address_nobody():
    events = (
        *completed(1),
        Event(6.0, "trial_failed", "EXIT_CODE: <!channel> & <http://x|y>", 2, 1),
        Event(7.0, "trial_staged", "", 3, 1),
        Event(8.0, "experiment_stopping", "goal: reached"),
        Event(9.0, "experiment_completed", "goal: reached"),
    )
    news = News("mine", state(2.0, 1.0), events)
    told = list(messages(news, ALL))
    assert [m["event"] for m in told] == ["trial_failed", "stopped", "completed", "new_best"]
    assert told[0]["text"] == (
        "mine: trial 2 failed: EXIT_CODE: &lt;!channel&gt; &amp; &lt;http://x|y&gt;"
    )
    assert told[3] == {
        "text": "mine: new best: arm 1_0: loss = 1",
        "experiment": "mine",
        "event": "new_best",
        "time": 5.0,
        "message": "arm 1_0: loss = 1",
        "trial_index": 1,
        "attempt": None,
        "metrics": {"loss": 1.0},
    }
    assert list(messages(news, ("stalled",))) == []


class Sink:
    """Takes messages, or fails as it is told to."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.told, self.said = [], []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, _receiver, message, _workdir):
        assert self.gate.wait(60)
        if self.failures:
            raise self.failures.pop(0)
        self.told.append(message["trial_index"])

    def report(self, _name, why):
        self.said.append(why)


def failed(index):
    return (Event(1.0, "trial_failed", "", index, 1),)


def notifier(sink, waits=(0.0, 0.0)):
    return Notifier(sink.report, sink, waits), state(notifications=[SLACK])


def test_messages_come_in_order_and_failures_are_tried_again():
    sink = Sink(Undelivered("busy"), Undelivered("busy"))
    made, experiment = notifier(sink)
    for index in range(5):
        made.tell("mine", experiment, failed(index))
    while len(sink.told) < 5:
        assert not sink.said
    made.close()
    assert sink.told == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("failures", "said"),
    [
        ([Undelivered("gone", final=True)], "gone"),
        ([Undelivered("busy")] * 3, "busy"),
        ([RuntimeError("oops")], "this is a bug: RuntimeError: oops"),
    ],
)
def test_who_cannot_be_told_is_given_up_and_the_next_message_comes(failures, said):
    sink = Sink(*failures)
    made, experiment = notifier(sink)
    made.tell("mine", experiment, failed(1))
    made.tell("mine", experiment, failed(2))
    while not sink.told:
        assert len(sink.said) < 2
    made.close()
    assert sink.told == [2]
    assert [why.removeprefix("trial_failed was not told: ") for why in sink.said] == [said]


def test_a_receiver_that_hangs_holds_up_neither_the_tick_nor_the_end(monkeypatch):
    monkeypatch.setattr("scheduler.notify.KEPT", 3)
    sink = Sink()
    sink.gate.clear()
    made, experiment = notifier(sink)
    for index in range(9):
        made.tell("mine", experiment, failed(index))
    made.close(0.0)
    assert "3 messages wait" in sink.said[0]
    sink.gate.set()


@contextmanager
def server(*answers):
    got = []
    answers = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, json.loads(body)))
            self.send_response(answers.pop(0) if answers else 200)
            self.send_header("Retry-After", "7")
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}/T0/secret", got
        made.shutdown()


def test_a_webhook_is_posted_to_where_the_secret_says(monkeypatch, tmp_path):
    with server() as (url, got):
        monkeypatch.setenv("SLACK_URL", url)
        deliver(receiver(), {"text": "hello"}, None)
        (tmp_path / "url").write_text(f"{url}\n")
        deliver(receiver(url_env=None, url_file=f"{tmp_path}/url"), {"text": "you"}, None)
    assert got == [("/T0/secret", {"text": "hello"}), ("/T0/secret", {"text": "you"})]


@pytest.mark.parametrize(
    ("code", "final", "after"), [(404, True, 7), (429, False, 7), (503, False, 7), (302, True, 7)]
)
def test_an_answer_says_whether_another_try_makes_sense(monkeypatch, code, final, after):
    with server(code) as (url, got):
        monkeypatch.setenv("SLACK_URL", url)
        with pytest.raises(Undelivered) as caught:
            deliver(receiver(), {}, None)
    assert (caught.value.final, caught.value.after) == (final, after)
    assert (str(caught.value), len(got)) == (f"the webhook answered {code}", 1)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "secret",
        "file:///etc/secret",
        "http://127.0.0.1:1/secret",
        "http://[secret",
        "http://secret.invalid:port/",
        "http://127.0.0.1/sec ret\n",
    ],
)
def test_a_url_that_leads_nowhere_is_never_shown(monkeypatch, url):
    monkeypatch.setenv("SLACK_URL", url)
    with pytest.raises(Undelivered) as caught:
        deliver(receiver(), {}, None)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_command_gets_the_event_and_its_end_is_looked_at(tmp_path):
    code = "import sys; open('got', 'w').write(sys.stdin.read())"
    deliver(command(code, timeout=60), {"text": "hello"}, str(tmp_path))
    assert json.loads((tmp_path / "got").read_text()) == {"text": "hello"}
    with pytest.raises(Undelivered, match="exit status 3"):
        deliver(command("raise SystemExit(3)", timeout=60), {}, None)
    with pytest.raises(Undelivered, match=r"was ended after 0\.5 s"):
        deliver(command("while True: pass", timeout=0.5), {}, None)
    with pytest.raises(Undelivered, match="cannot be run"):
        deliver(receiver(type="command", url_env=None, command=["/nowhere"]), {}, None)


def test_a_run_tells_and_keeps_the_secret(storage, tmp_path, monkeypatch):
    tell = "import sys; open('told', 'a').write(sys.stdin.read() + chr(10))"
    (tmp_path / "tell.py").write_text(tell)
    (tmp_path / "trial.py").write_text(TRIAL)
    text = FILE.replace("@python", sys.executable).replace("total_trials: 6", "total_trials: 3")
    events = "events: [new_best, trial_failed, stopped, completed]"
    text += (
        f"notifications:\n  - {{{events}, type: webhook, url_env: SLACK_URL}}\n"
        f"  - {{{events}, type: command, command: ['{sys.executable}', tell.py]}}\n"
    )
    (tmp_path / "e.yaml").write_text(text)
    with server() as (url, got):
        monkeypatch.setenv("SLACK_URL", url)
        done = process(tmp_path, "run", "e.yaml")
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [body for _, body in got] == told
    assert [m["event"] for m in told if m["event"] != "new_best"] == [
        "trial_failed",
        "stopped",
        "completed",
    ]
    assert any(m["event"] == "new_best" for m in told)
    files = b"".join(p.read_bytes() for p in tmp_path.glob("schedd.db*"))
    assert b"T0/secret" not in files + done.stderr.encode() + done.stdout.encode()
    assert "T0/secret" not in whole(storage)


def whole(url):
    """Return all that a database holds, as text."""
    store = Store.open(url)
    with store.reading() as connection:
        tables = [connection.execute(t.select()).all() for t in schema.metadata.sorted_tables]
    store.close()
    assert any(tables)
    return str(tables)
