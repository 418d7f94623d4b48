"""Generators of third parties: found by entry point, believed only as far as they keep the rules.

Whatever one of them does wrong, in the real worker process, costs its arms and nothing else.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from plugin_package import install

from scheduler.generation.protocol import GenerationReply, GenerationRequest, Measured
from scheduler.generation.worker import WorkerGenerator
from scheduler.model.definition import ExperimentDefinition

ROOT = Path(__file__).parent.parent
SCHEDD = (sys.executable, "-P", "-c", "from scheduler.cli import main; main()")
DEFINITION = ExperimentDefinition.model_validate(
    {
        "name": "toy",
        "parameters": [
            {"name": "x", "type": "range", "bounds": [0.0, 1.0]},
            {"name": "f", "type": "fixed", "value": "a"},
        ],
        "objective": "-loss",
        "runner": {"command": ["true"]},
    }
)

MISBEHAVED = """
import os, sys, time
from scheduler.generation.base import Generator, GeneratorOptions, Traits

class Options(GeneratorOptions):
    how: str

class Misbehaved(Generator):
    Options = Options

    def generate(self, request):
        how = self.options.how
        if how == "raises":
            raise LookupError("the service is gone\\nand more")
        if how == "exits":
            sys.exit("enough")
        if how == "dies":
            os.abort()
        if how == "eats memory":
            return bytearray(2**45)
        if how == "hangs":
            time.sleep(3600)
        if how == "is none":
            return None
        if how == "prints":
            print('{"kind": "reply"}', flush=True)
        arms = {
            "repeats": [{"x": 0.5}],
            "repeats what is pending": [{"x": 0.75}],
            "leaves the space": [{"x": 1.5}],
            "makes too few": [],
            "makes too many": [{"x": 0.1}, {"x": 0.2}],
            "is not a number": [{"x": float("nan")}],
            "forgets a parameter": [{}],
            "is text": [{"x": "0.5"}],
            "is an object": [{"x": object()}],
        }
        return request.reply(arms.get(how, [{"x": 0.25}]))
"""
TROUBLE = {
    "raises": "cannot answer (LookupError: the service is gone)",
    "exits": "cannot answer (SystemExit: enough)",
    "dies": "failed twice (its process was killed by signal 6",
    "eats memory": "cannot answer (it ran out of memory)",
    "is none": "cannot answer (TypeError: ",
    "repeats": "failed twice (it made an arm that there is already)",
    "repeats what is pending": "failed twice (it made an arm that there is already)",
    "leaves the space": "failed twice (its answer makes no sense: x = 1.5 is outside [0, 1]",
    "makes too few": "failed twice (it was asked for 1 arms and made 0)",
    "makes too many": "failed twice (it was asked for 1 arms and made 2)",
    "is not a number": "cannot answer (ValueError: Out of range float values",
    "forgets a parameter": "failed twice (its answer makes no sense: the arm has no value for x)",
    "is text": "failed twice (its answer makes no sense: ",
    "is an object": "cannot answer (TypeError: Object of type object is not JSON",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("third_party")
    install(
        root,
        "bad = misbehaved:Misbehaved\nabsent = nowhere:Absent\nplain = misbehaved:Options",
        misbehaved=MISBEHAVED,
    )
    return root


def asked(generator: str, how: str = "well", **fields) -> GenerationRequest:
    options = {"how": how} if generator == "bad" else {}
    seen = ({"x": 0.5, "f": "a"},)
    pending = ({"x": 0.75, "f": "a"},)
    observed = (Measured(seen[0], {"loss": (1.0, None)}),)
    fields = {"seen": seen, "pending": pending, "observed": observed, "options": options, **fields}
    return GenerationRequest(DEFINITION, generator, 3, 1, 1, cursor=9, sobol_cursor=4, **fields)


@pytest.fixture(scope="module")
def answer(folder):
    import threading

    woken = threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        worker = WorkerGenerator(woken.set)

        def ask(request: GenerationRequest) -> GenerationReply:
            worker.ask(request)
            while (reply := worker.reply()) is None:
                assert woken.wait(timeout=120)
                woken.clear()
            assert isinstance(reply, GenerationReply)
            return reply

        yield ask
        worker.close()


@pytest.mark.parametrize("how", ["well", "prints"])
def test_a_plugin_is_asked_in_the_worker_process(answer, how):
    reply = answer(asked("bad", how))
    assert (reply.generator, reply.note) == ("bad", "")
    assert reply.trials[0][0].parameters == {"x": 0.25, "f": "a"}


@pytest.mark.parametrize("how", TROUBLE)
def test_trouble_costs_its_arms_and_is_told(answer, how):
    reply = answer(asked("bad", how))
    assert reply.generator == "sobol"
    assert reply.note.startswith(f"bad {TROUBLE[how]}"), reply.note
    assert reply.note.endswith("; Sobol instead")
    (trial,) = reply.trials
    assert 0 <= trial[0].parameters["x"] <= 1
    assert reply.cursor >= 5


@pytest.mark.parametrize(
    ("generator", "why"),
    [
        ("absent", "does not import: ModuleNotFoundError"),
        ("plain", "is not a subclass of scheduler.generation.base.Generator"),
        ("nobodys", "there is no generator called 'nobodys'"),
    ],
)
def test_a_generator_that_cannot_be_had_is_told(answer, generator, why):
    reply = answer(asked(generator))
    assert reply.generator == "sobol"
    assert why in reply.note


EXPERIMENT = """\
schema: schedd/v1
name: suggested
parameters: [{name: x, type: range, bounds: [0, 1]}]
objective: "-loss"
generation_strategy:
  nodes:
    - {generator: suggested, num_trials: 9, options: {path: arms.jsonl}}
    - {generator: sobol}
trials: {total_trials: 4, max_pending_trials: 1}
runner: {command: [schedd, record, "loss={params.x}"]}
"""


def blocks(language: str) -> list[str]:
    import re

    text = (ROOT / "docs/generators.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def documented(tmp_path) -> dict[str, str]:
    """Return the environment in which the generator of the document is installed."""
    (points,) = blocks("toml")
    module, test = blocks("python")
    lines = [line.replace('"', "") for line in points.splitlines() if " = " in line]
    environment = install(tmp_path / "site", "\n".join(lines), suggested=module)
    (tmp_path / "test_suggested.py").write_text(test)
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    return {**environment, "PATH": path}


def test_the_documents_generator_passes_the_documents_test(documented, tmp_path):
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_suggested.py")
    done = subprocess.run(
        command, cwd=tmp_path, env=documented, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "8 passed" in done.stdout


def schedd(folder: Path, environment: dict[str, str], *arguments: str):
    return subprocess.run(
        [*SCHEDD, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_experiment_takes_arms_from_elsewhere_and_goes_on_without_them(documented, tmp_path):
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    (tmp_path / "arms.jsonl").write_text('{"x": 0.125}\n{"x": 0.625}\n')
    done = schedd(tmp_path, documented, "run", "e.yaml")
    assert done.returncode == 0, done.stderr
    trials = json.loads(schedd(tmp_path, documented, "trials", "--json").stdout)
    assert [t["arms"][0]["parameters"]["x"] for t in trials][:2] == [0.125, 0.625]
    assert [t["generator"] for t in trials] == ["suggested", "suggested", "sobol", "sobol"]


def test_validate_names_the_plugins_and_checks_their_options(documented, tmp_path):
    (tmp_path / "e.yaml").write_text(EXPERIMENT.replace("path:", "paht:"))
    done = schedd(tmp_path, documented, "validate", "e.yaml")
    assert done.returncode == 2
    assert "there is no key 'paht'" in done.stderr
    (tmp_path / "e.yaml").write_text(EXPERIMENT.replace("suggested,", "sugested,"))
    done = schedd(tmp_path, documented, "validate", "e.yaml")
    assert "no generator called 'sugested'; did you mean 'suggested'?" in done.stderr
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    done = schedd(tmp_path, documented, "validate", "e.yaml")
    assert "suggested until 9 trials are made, then sobol" in done.stdout
