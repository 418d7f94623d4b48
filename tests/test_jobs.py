"""What a trial asks a runner for: names, folders, command lines, environment and files."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.jobs import (
    fill,
    job_of,
    placeholders_of,
    problems_of,
    ref_of,
    tasks_of,
    text_of,
    variable_of,
)
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.trial import Arm, Trial

ROOT = Path("/data/e.trials")
TOKEN = "0123456789abcdef"


def definition(**changes):
    runner = {"command": ["python", "t.py", "--x={params.x}", "{trial_dir}"], **changes}
    return ExperimentDefinition.model_validate(
        {
            "name": "e",
            "parameters": [
                {"name": "x", "type": "range", "bounds": [0, 1]},
                {"name": "opt-name", "type": "choice", "values": ["sgd", "adam", "-v"]},
            ],
            "objective": "-loss",
            "trials": {"replicates": changes.pop("replicates", 1)},
            "runner": {k: v for k, v in runner.items() if k != "replicates"},
        }
    )


def arm(name="3_0", x=0.1):
    return Arm(name, {"x": x, "opt-name": "sgd"})


def test_a_single_task_has_the_folder_of_its_attempt():
    trial = Trial(3, (arm(),), attempt=2)
    job = job_of(definition(workdir="/src"), trial, ROOT, TOKEN)
    assert (job.name, job.workdir) == ("schedd-01234567-t3-a2", Path("/src"))
    (task,) = job.tasks
    assert task.argv == ("python", "t.py", "--x=0.1", "/data/e.trials/3/a2")
    assert task.directory == ROOT / "3/a2"
    assert json.loads(task.files["parameters.json"]) == {"opt-name": "sgd", "x": 0.1}
    assert task.env == {
        "SCHEDD_PARAM_X": "0.1",
        "SCHEDD_PARAM_OPT_NAME": "sgd",
        "SCHEDD_TRIAL_DIR": "/data/e.trials/3/a2",
        "SCHEDD_TRIAL_INDEX": "3",
        "SCHEDD_ATTEMPT": "2",
        "SCHEDD_ARM": "3_0",
        "SCHEDD_WEIGHT": "1.0",
        "SCHEDD_REPLICATE": "0",
        "SCHEDD_EXPERIMENT": "e",
    }


@pytest.mark.parametrize(
    ("arms", "replicates", "folders"),
    [
        (1, 1, ["a1"]),
        (2, 1, ["a1/3_0", "a1/3_1"]),
        (1, 2, ["a1/3_0-r0", "a1/3_0-r1"]),
        (2, 2, ["a1/3_0-r0", "a1/3_0-r1", "a1/3_1-r0", "a1/3_1-r1"]),
    ],
)
def test_every_run_has_a_folder_and_a_name_of_its_own(arms, replicates, folders):
    trial = Trial(3, tuple(arm(f"3_{i}") for i in range(arms)))
    made = definition(replicates=replicates)
    job = job_of(made, trial, ROOT, TOKEN)
    assert [t.directory for t in job.tasks] == [ROOT / "3" / f for f in folders]
    assert len({t.name for t in job.tasks}) == len(folders)
    assert [p.directory for p in tasks_of(made, trial, ROOT)] == [t.directory for t in job.tasks]


def test_a_job_is_asked_for_by_the_name_and_folders_it_was_made_with():
    trial = Trial(3, (arm("3_0"), arm("3_1")), job_id="77")
    job, ref = (f(definition(), trial, ROOT, TOKEN) for f in (job_of, ref_of))
    assert (ref.name, ref.job_id) == (job.name, "77")
    assert ref.directories == tuple(t.directory for t in job.tasks)


def test_the_environment_may_hold_placeholders():
    made = definition(env={"OUT": "{trial_dir}/o", "RAW": "{{arm}}"})
    env = job_of(made, Trial(0, (arm(),)), ROOT, TOKEN).tasks[0].env
    assert (env["OUT"], env["RAW"]) == ("/data/e.trials/0/a1/o", "{arm}")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{a}", "1"),
        ("x={a},{a}", "x=1,1"),
        ("{{a}}", "{a}"),
        ("{b}", "{a}"),
        ("{'a': {'a': 1}}", "{'a': {'a': 1}}"),
        ('{"lr": {params.x}}', '{"lr": 2}'),
        ("echo ${a} {} {0} {a b}", "echo ${a} {} {0} {a b}"),
        ("{{params.x}}", "{params.x}"),
    ],
)
def test_placeholders_are_filled_once_and_other_braces_stay(template, text):
    assert fill(template, {"a": "1", "b": "{a}", "params.x": "2"}) == text


@given(st.text())
def test_text_without_braces_is_left_alone(text):
    text = text.replace("{", "")
    assert fill(text, {}) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_read_back_as_themselves(number):
    assert float(text_of(number)) == number


def test_values_and_names_as_text():
    texts = [text_of(value) for value in (True, False, 3, 1e-05, "a b")]
    assert texts == ["true", "false", "3", "1e-05", "a b"]
    assert variable_of("opt-name.2") == "SCHEDD_PARAM_OPT_NAME_2"


def test_fetchers_get_the_same_placeholders():
    made, trial = definition(), Trial(3, (arm(),))
    (place,) = tasks_of(made, trial, ROOT)
    values = placeholders_of(made, trial, place)
    assert values["trial_dir"] == "/data/e.trials/3/a1"
    assert values["params.x"] == "0.1"


@pytest.mark.parametrize(
    ("changes", "path", "text"),
    [
        (
            {"command": ["a", "{params.y}"]},
            ("runner", "command", 1),
            "{params.y} is not a placeholder; did you mean 'params.x'?",
        ),
        (
            {"command": ["awk", "{print}"]},
            ("runner", "command", 1),
            "{print} is not a placeholder; write {{print}} for the characters themselves",
        ),
        (
            {"command": ["a", "{params.opt-name}"]},
            ("runner", "command", 1),
            "{params.opt-name} may become '-v', which the program would read as an option; "
            "join it to its option, for example '--opt-name={params.opt-name}'",
        ),
        (
            {"env": {"B-C": "1"}},
            ("runner", "env", "B-C"),
            "'B-C' cannot name an environment variable; use letters, digits and _",
        ),
        (
            {"env": {"SCHEDD_X": "1"}},
            ("runner", "env", "SCHEDD_X"),
            "SCHEDD_X begins with SCHEDD_, which is kept for what schedd sets itself",
        ),
    ],
)
def test_what_no_job_could_be_made_of_is_found_beforehand(changes, path, text):
    assert list(problems_of(definition(**changes))) == [(path, text)]


def test_a_sound_definition_has_no_problem():
    assert list(problems_of(definition(env={"LD_PRELOAD": "a.so", "A": "{params.x}"}))) == []
