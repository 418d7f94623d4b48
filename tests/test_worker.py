"""The worker's client against children that hang, die and talk nonsense."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scheduler.generation import wire
from scheduler.generation.protocol import GenerationReply, GenerationRequest, Measured
from scheduler.generation.trust import Trust
from scheduler.generation.worker import COMMAND, WorkerGenerator
from scheduler.model.definition import ExperimentDefinition

DEFINITION = ExperimentDefinition.model_validate(
    {
        "name": "toy",
        "parameters": [{"name": "x", "type": "range", "bounds": [0.0, 1.0]}],
        "parameter_constraints": ["x <= 0.9"],
        "objective": "-loss",
        "runner": {"command": ["true"]},
    }
)

FAKE = """
import json, os, signal, sys, time
behave, HUGE = {body!r}, 1.25e300
for line in sys.stdin:
    message = json.loads(line)
    if message["kind"] == "definition":
        continue
    number, request = message["number"], message["request"]
    def say(trials, **more):
        reply = dict(generator=request["generator"], trials=trials, cursor=7, seconds=0.5,
                     exhausted=False, note="")
        reply.update(more)
        line = json.dumps(dict(kind="reply", number=number, reply=reply))
        print(line.replace(repr(HUGE), "1e999"), flush=True)
    def arm(x, prediction=None, insight=None, weight=1.0):
        return dict(parameters=dict(x=x), prediction=prediction, insight=insight, weight=weight)
    def good():
        say([[arm(0.25)] for _ in range(1)])
    def refuse(text):
        print(json.dumps(dict(kind="refusal", number=number, text=text)), flush=True)
    if request["generator"] == "sobol" and not {everywhere!r}:
        good()
    else:
        exec(behave)
"""


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Bench:
    """A client, the event its ``wake`` sets, and a clock."""

    def __init__(self, command=COMMAND):
        self.woken, self.clock = threading.Event(), Clock()
        self.worker = WorkerGenerator(self.woken.set, 60.0, command, self.clock)

    def answer(self, request):
        self.worker.ask(request)
        return self.take()

    def take(self):
        while (reply := self.worker.reply()) is None:
            assert self.worker.busy
            assert self.woken.wait(timeout=120)
            self.woken.clear()
        return reply


@pytest.fixture
def bench():
    made = []

    def make(*args):
        made.append(Bench(*args))
        return made[-1]

    yield make
    for each in made:
        each.worker.close()
        each.worker.close()


def fake(body, everywhere=False):
    return (sys.executable, "-c", FAKE.format(body=body, everywhere=everywhere))


def asked(generator="botorch", **more):
    seen = more.pop("seen", ({"x": 0.5},))
    return GenerationRequest(DEFINITION, generator, 3, 1, 1, seen=seen, **more)


NONSENSE = {
    "not JSON": ("print('hello', flush=True)", "makes no sense"),
    "no reply": ("print('{}', flush=True)", "makes no sense"),
    "NaN": ("say([[arm(float('nan'))]])", "NaN is not a value"),
    "out of bounds": ("say([[arm(1.5)]])", "outside [0, 1]"),
    "breaks a constraint": ("say([[arm(0.95)]])", "parameter constraint"),
    "unknown parameter": ("say([[dict(arm(0.1), parameters=dict(y=1.0))]])", "'y'"),
    "seen before": ("say([[arm(0.5)]])", "an arm that there is already"),
    "too many": ("say([[arm(0.1)], [arm(0.2)]])", "asked for 1 arms and made 2"),
    "too few": ("say([])", "asked for 1 arms and made 0"),
    "a negative sem": ("say([[arm(0.1, dict(l=dict(mean=1.0, sem=-1.0)))]])", "a prediction of"),
    "an infinite prediction": (
        "say([[arm(0.1, dict(l=dict(mean=HUGE, sem=1.0)))]])",
        "a prediction",
    ),
    "a probability above 1": ("say([[arm(0.1, None, dict(p_feasible=1.5))]])", "p_feasible = 1.5"),
    "an insight in words": ("say([[arm(0.1, None, dict(why='so'))]])", "an insight of why = 'so'"),
    "an infinite insight": ("say([[arm(0.1, None, dict(a=HUGE))]])", "an insight of a = inf"),
    "no weight": ("say([[arm(0.1, weight=0.0)]])", "a weight of 0.0"),
    "another's answer": ("number -= 1; good()", "answers request"),
    "death": ("print('out of luck', file=sys.stderr); sys.exit(3)", "status 3: out of luck"),
    "a signal": ("os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_a_generator_that_fails_twice_is_replaced_by_sobol_which_is_said(bench, name):
    body, why = NONSENSE[name]
    reply = bench(fake(body)).answer(asked())
    assert isinstance(reply, GenerationReply)
    assert reply.generator == "sobol"
    assert reply.trials[0][0].parameters == {"x": 0.25}
    assert reply.note.startswith("botorch failed twice (")
    assert reply.note.endswith("; Sobol instead")
    assert why in reply.note


def test_what_a_model_knew_and_how_much_an_arm_counts_come_along(bench):
    body = "say([[arm(0.1, dict(loss=dict(mean=1, sem=0.0)), dict(p_feasible=1.0, a=-3), 2)]])"
    ((proposal,),) = bench(fake(body)).answer(asked()).trials
    assert proposal.prediction == {"loss": {"mean": 1, "sem": 0.0}}
    assert (proposal.insight, proposal.weight) == ({"p_feasible": 1.0, "a": -3}, 2.0)


def test_one_failure_is_only_tried_again(bench, tmp_path):
    mark = tmp_path / "mark"
    body = (
        f"p = {str(mark)!r}\nif os.path.exists(p): good()\nelse: open(p, 'w').close(); sys.exit(1)"
    )
    reply = bench(fake(body)).answer(asked())
    assert (reply.generator, reply.note) == ("botorch", "")


def test_a_refusal_steps_down_to_sobol_at_once(bench):
    reply = bench(fake("refuse('all observations are equal')")).answer(asked())
    assert reply.generator == "sobol"
    assert reply.note == "botorch cannot answer (all observations are equal); Sobol instead"


def test_where_sobol_fails_too_there_is_a_sentence(bench):
    each = bench(fake("sys.exit(4)", True))
    text = each.answer(asked())
    assert isinstance(text, str)
    assert text.count("failed twice") == 2
    assert not each.worker.busy
    assert each.worker.reply() is None


def test_a_command_that_does_not_exist_is_a_sentence(bench):
    text = bench(("/nonexistent/python",)).answer(asked("sobol"))
    assert isinstance(text, str)
    assert "cannot be started" in text


def test_a_child_that_hangs_is_killed_at_the_deadline(bench):
    each = bench(fake("time.sleep(3600)"))
    each.worker.ask(asked())
    each.clock.now = 59.9
    assert each.worker.reply() is None
    first = each.worker._child._process
    each.clock.now = 60.0
    assert each.worker.reply() is None
    assert first.returncode == -9
    each.clock.now = 120.0
    reply = each.take()
    assert reply.note == "botorch failed twice (no answer within 60 s); Sobol instead"


def test_a_generator_that_keeps_failing_is_passed_over_more_and_more_often(bench, tmp_path):
    mark = tmp_path / "asked"
    body = f"open({str(mark)!r}, 'a').write('x'); sys.exit(1)"
    each, tries = bench(fake(body)), []
    for _ in range(12):
        before = mark.stat().st_size if mark.exists() else 0
        assert each.answer(asked()).note.endswith("; Sobol instead")
        tries.append(mark.stat().st_size - before)
    assert tries == [2, 2, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0]
    assert each.answer(asked()).note.startswith("botorch failed lately (its process ended with")


def test_a_good_answer_makes_up_for_failures():
    trust = Trust()
    for _ in range(3):
        trust.failed("mine", "it died")
    assert [trust.excuse("mine") for _ in range(4)] == ["it died"] * 3 + [""]
    trust.answered("mine")
    trust.failed("mine", "it hung")
    assert (trust.excuse("mine"), trust.excuse("another")) == ("", "")


def test_observations_lengthen_the_deadline_of_a_model(bench):
    each = bench(fake("time.sleep(3600)"))
    observed = tuple(Measured({"x": i / 200}, {"loss": (1.0, None)}) for i in range(100))
    each.worker.ask(asked(observed=observed))
    each.clock.now = 69.0
    assert each.worker.reply() is None
    assert each.worker._child._process.returncode is None


def test_a_reply_that_no_one_reads_blocks_nobody(bench):
    seen = tuple({"x": i / 1e6} for i in range(200_000))
    each = bench(fake("time.sleep(3600)", True))
    each.worker.ask(asked(seen=seen))  # Megabytes, to a child that reads a line and then nothing.
    assert each.worker.busy


def test_an_exhausted_space_may_answer_with_fewer_arms(bench):
    reply = bench(fake("say([], exhausted=True)")).answer(asked())
    assert reply.exhausted
    assert reply.trials == ()


def test_what_a_library_prints_does_not_reach_the_protocol(bench):
    program = (
        "import scheduler.generation.child as c\n"
        "class Noisy(dict):\n    pass\n"
        "made = c.make\n"
        "def make(*args):\n    print('noise'); import os; os.system('echo noise')\n"
        "    return made(*args)\n"
        "c.make = make\nc.main()\n"
    )
    reply = bench((sys.executable, "-P", "-c", program)).answer(asked("sobol"))
    assert (reply.generator, reply.note) == ("sobol", "")


def test_the_child_ends_with_its_input_even_while_it_works():
    program = (
        "import scheduler.generation.child as c\n"
        "def make(*args):\n    print('busy')\n    while True: pass\n"
        "c.make = make\nc.main()\n"
    )

    digest, line = wire.definition_line(DEFINITION)
    with subprocess.Popen(
        (sys.executable, "-P", "-u", "-c", program),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as child:
        child.stdin.write(line + wire.request_line(asked("sobol"), digest, 1))
        child.stdin.flush()
        assert child.stderr.readline() == b"busy\n"
        child.stdin.close()
        assert child.wait(timeout=60) == 0


def test_the_real_child_answers_and_torch_is_loaded_for_a_model_only(bench):
    each = bench()
    each.worker.warm()
    first = each.answer(asked("sobol"))
    maps = Path(f"/proc/{each.worker._child._process.pid}/maps")
    assert maps.exists() is sys.platform.startswith("linux")
    if maps.exists():
        assert "libtorch" not in maps.read_text()
    x = first.trials[0][0].parameters["x"]
    observed = tuple(Measured({"x": v}, {"loss": ((v - 0.3) ** 2, None)}) for v in (0.1, 0.6, 0.8))
    reply = each.answer(asked(observed=observed, pending=({"x": x},), cursor=first.cursor))
    assert (reply.generator, reply.note, reply.cursor) == ("botorch", "", first.cursor)
    proposal = reply.trials[0][0]
    assert 0 <= proposal.parameters["x"] <= 0.9
    assert set(proposal.prediction["loss"]) == {"mean", "sem"}


def test_a_model_of_equal_observations_steps_down_in_the_real_child(bench):
    observed = tuple(Measured({"x": v}, {"loss": (1.0, None)}) for v in (0.1, 0.6, 0.8))
    reply = bench().answer(asked(observed=observed))
    assert reply.generator == "sobol"
    assert "all observations of loss are equal" in reply.note


def test_equal_requests_give_equal_arms_in_fresh_processes_with_one_thread_and_two():

    observed = tuple(
        Measured({"x": v}, {"loss": ((v - 0.3) ** 2, None)}) for v in (0.1, 0.2, 0.6, 0.8)
    )
    digest, line = wire.definition_line(DEFINITION)
    text = line + wire.request_line(asked(observed=observed), digest, 1)
    trials = []
    for threads in ("1", "2"):
        # stdin stays open until the answer is there: the child ends with it.
        with subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
        ) as child:
            child.stdin.write(text)
            child.stdin.flush()
            trials.append(json.loads(child.stdout.readline())["reply"]["trials"])
    assert trials[0] == trials[1]


def test_importing_the_client_loads_no_numbers():
    program = (
        "import sys, scheduler.generation.worker\n"
        "print({m.split('.')[0] for m in sys.modules} & {'numpy', 'scipy', 'torch'})"
    )
    done = subprocess.run((sys.executable, "-P", "-c", program), capture_output=True, check=True)
    assert done.stdout == b"set()\n"


HUGE = (1e30, -1e-12, 1e12, 5e-324, 1.7976931348623157e308, -0.0)


def test_a_request_crosses_the_pipe_unchanged():

    observed = tuple(Measured({"x": 0.1}, {"loss": (mean, abs(mean))}) for mean in HUGE)
    made = asked(
        observed=(*observed, Measured({"x": 0.2}, {"loss": (1.0, None)})),
        failed=({"x": 0.875},),
        pending=({"x": 0.1 + 0.2},),
        baseline={"loss": 1e-300},
    )
    digest, _ = wire.definition_line(DEFINITION)
    line = wire.request_line(made, digest, 7)
    assert wire.parse_request(json.loads(line)["request"], DEFINITION) == made
    with pytest.raises(ValueError, match="not JSON compliant"):
        wire.request_line(asked(baseline={"loss": float("nan")}), digest, 8)


class Lines:
    """What the daemon has sent; beyond it, the end."""

    def __init__(self, *lines):
        self.left = list(lines)

    def empty(self):
        return not self.left

    def get(self):
        if not self.left:
            raise EOFError
        return self.left.pop(0)


def test_what_a_later_node_needs_is_imported_while_nothing_is_asked(monkeypatch):
    import io

    from scheduler.generation import child
    from scheduler.generation.builtin import Botorch

    ready = []
    monkeypatch.setattr(Botorch, "make_ready", lambda self: ready.append(self.definition.name))
    digest, definition = wire.definition_line(DEFINITION)
    asked = [
        wire.request_line(GenerationRequest(DEFINITION, "sobol", 0, 1, 1, cursor), digest, cursor)
        for cursor in (0, 1)
    ]
    answers = io.BytesIO()
    with pytest.raises(EOFError):
        child.serve(Lines(definition, *asked), answers)
    assert answers.getvalue().count(b"\n") == 2
    assert ready == [DEFINITION.name]


def test_an_arm_with_an_inactive_parameter_crosses_the_pipe():
    from scheduler.generation.sobol import SobolGenerator
    from scheduler.generation.space import Space

    tree = ExperimentDefinition.model_validate(
        {
            "name": "tree",
            "parameters": [
                {
                    "name": "kind",
                    "type": "choice",
                    "values": ["a", "b"],
                    "dependent_parameters": {"a": ["x"]},
                },
                {"name": "x", "type": "range", "bounds": [0, 1]},
            ],
            "objective": "-loss",
            "runner": {"command": ["true"]},
        }
    )
    seen = ({"kind": "a", "x": 0.5},)
    request = GenerationRequest(tree, "sobol", 0, 4, 1, seen=seen)
    reply = SobolGenerator(Space(tree)).generate(request)
    assert {"kind": "b"} in [dict(trial[0].parameters) for trial in reply.trials]
    assert wire.parse_answer(wire.reply_line(reply, 7), request, 7) == reply
    again = GenerationRequest(tree, "sobol", 0, 4, 1, seen=(*seen, {"kind": "b"}))
    with pytest.raises(wire.Nonsense, match="there is already"):
        wire.parse_answer(wire.reply_line(reply, 7), again, 7)
