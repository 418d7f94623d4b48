"""Files of other tools in our words: what they meant, and read again as it was written."""

import contextlib
import json
import math
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from translated import CASES, GOLDEN, imported

from scheduler import registry
from scheduler.config.errors import ConfigError
from scheduler.config.load import load_text
from scheduler.config.table import read_table
from scheduler.jobs import fill, literal
from scheduler.translate import ax, katib, nni, optuna, wandb
from scheduler.translate.assemble import assemble
from scheduler.translate.conditional import explained
from scheduler.translate.node import Node, document
from scheduler.translate.optuna import OptunaTrial, Study
from scheduler.translate.result import Losses, Measured, Translation
from scheduler.translate.space import Range, Space
from scheduler.translate.write import scalar, yaml_text

MORE = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NUMBER = st.floats(-1e9, 1e9, allow_nan=False) | st.integers(-(10**9), 10**9)
WRITERS = {"katib": katib.translate, "wandb": wandb.translate}


def made_of(found: Translation):
    return assemble(found, "theirs", Path("ours.yaml"), Path("ours.csv"))


def loaded(text: str):
    return load_text(text, "ours.yaml", registry)


def reasons(found: Translation) -> list[str]:
    return [str(lost) for lost in found.lost]


def refusal(definition, parameters) -> str:
    try:
        definition.admit(parameters)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", CASES)
def test_what_comes_of_a_file_is_as_expected_and_loads(name: str) -> None:
    made = imported(name)
    assert made.text == (GOLDEN / f"{name}.expected.yaml").read_text()
    table = GOLDEN / f"{name}.expected.csv"
    assert made.history == (table.read_text() if table.exists() else None)
    definition = loaded(made.text)
    arms = list(read_table(str(table), definition)) if table.exists() else []
    admitted = sum(not refusal(definition, parameters) for parameters, _ in arms)
    assert admitted == made.arms


# --- writing


@given(st.recursive(TEXT | NUMBER | st.booleans() | st.none(), lambda x: st.lists(x, max_size=3)))
@MORE
def test_a_value_is_read_as_it_was_written(value) -> None:
    from scheduler.config.reader import read_bytes
    from scheduler.translate.write import _entry

    text = "\n".join(_entry("key", {"list": [value], "": value, "a b": {"c": value}}, 0))
    data = read_bytes(text.encode(), "x", {}).data
    assert data == {"key": {"list": [value], "": value, "a b": {"c": value}}}


@given(TEXT)
def test_text_in_a_command_is_filled_in_as_it_stood(text: str) -> None:
    assert fill(literal(text), {}) == text


@given(st.text("{}ab$.params", max_size=12))
def test_braces_in_a_command_are_filled_in_as_they_stood(text: str) -> None:
    assert fill(literal(text), {}) == text


@st.composite
def spaces(draw):
    """Build a space from names and values of any kind; return it with one arm of theirs."""
    space, arm = Space(Losses()), {}
    for name in draw(st.lists(TEXT, min_size=1, max_size=4, unique=True)):
        kind = draw(st.sampled_from(["range", "int", "choice", "fixed"]))
        low, high = sorted(draw(st.tuples(NUMBER, NUMBER)))
        if kind == "choice":
            values = draw(
                st.lists(TEXT | NUMBER | st.booleans() | st.none(), min_size=1, max_size=4)
            )
            space.add_choice(name, values)
            arm[name] = draw(st.sampled_from(values))
        elif kind == "fixed":
            arm[name] = draw(TEXT | NUMBER | st.booleans())
            space.add_fixed(name, arm[name])
        else:
            whole = kind == "int"
            low, high = (math.floor(low), math.ceil(high)) if whole else (low, high)
            space.add_range(name, Range(low, high, whole, draw(st.booleans())))
            arm[name] = draw(
                st.integers(low, high) if whole else st.floats(float(low), float(high))
            )
    return space, arm


@given(spaces(), TEXT)
@MORE
def test_any_space_becomes_an_experiment_that_takes_its_arms(made, name: str) -> None:
    space, arm = made
    definition = {
        "name": name,
        "description": name,
        "parameters": space.parameters,
        "objective": {"metric": "the loss", "minimize": True},
    }
    history = (Measured(space.arm(arm), {"the loss": (0.5, None)}),)
    found = made_of(Translation("theirs", definition, history))
    back = loaded(found.text)
    again = loaded(
        yaml_text({**definition, "name": back.name, "runner": {"command": ["x"]}}, "", {})
    )
    assert again.parameters == back.parameters
    assert back.description == name
    assert back.admit(space.arm(arm))
    if found.history is None:  # what a table cannot hold is told
        assert any("measured arm" in str(lost) for lost in found.lost)
    else:
        assert back.warm_start[0].csv == "ours.csv"


def test_names_that_are_not_allowed_are_told_and_stay_apart() -> None:
    losses = Losses()
    space = Space(losses)
    for name in ("a b", "a_b", "A_B", "1", "", "x" * 80):
        space.add_fixed(name, 1)
    names = [p["name"] for p in space.parameters]
    assert names == ["a_b", "a_b_2", "A_B_3", "_1", "_", "x" * 64]
    assert "the name 'a b': it is 'a_b' here" in str(losses.found[0])


def test_a_choice_of_several_kinds_is_text_and_values_map() -> None:
    losses = Losses()
    space = Space(losses)
    space.add_choice("c", [None, 1, True, [1, 2]])
    assert space.parameters[0]["values"] == ["None", "1", "true", "[1, 2]"]
    assert [space.value("c", v) for v in (None, 1, True, [1, 2])] == space.parameters[0]["values"]
    assert "all numbers, all text or all booleans" in str(losses.found[0])


def test_a_scalar_that_yaml_would_misread_is_quoted() -> None:
    for text in ("yes: no", "- a", "# a", "1e5", "null", "~", "${HOME}", " a", "a\u2028b", "\x85"):
        assert scalar(text).startswith('"'), text
    with pytest.raises(ValueError, match="surrogate"):
        scalar("\ud800")


# --- Optuna

FLOAT = {
    "name": "FloatDistribution",
    "attributes": {"step": None, "low": 0.0, "high": 1.0, "log": False},
}


def categorical(*choices) -> dict:
    return {"name": "CategoricalDistribution", "attributes": {"choices": list(choices)}}


def study(*trials: dict[str, tuple[float, dict]], **others) -> Study:
    made = [
        OptunaTrial(i, [0.5], {n: (v, json.dumps(d)) for n, (v, d) in trial.items()})
        for i, trial in enumerate(trials)
    ]
    given = {
        "states": {"COMPLETE": len(made)},
        "other_distributions": {},
        "directions": ["MINIMIZE"],
    }
    return Study(name="s", trials=made, **{**given, **others})


@pytest.mark.parametrize(
    ("kind", "attributes", "expected"),
    [
        ("UniformDistribution", {"low": 0, "high": 1}, {"bounds": [0.0, 1.0]}),
        (
            "LogUniformDistribution",
            {"low": 1, "high": 9},
            {"bounds": [1.0, 9.0], "scaling": "log"},
        ),
        ("DiscreteUniformDistribution", {"low": 0, "high": 1, "q": 0.5}, {"step_size": 0.5}),
        ("IntUniformDistribution", {"low": 1, "high": 9, "step": 2}, {"step_size": 2}),
        ("IntLogUniformDistribution", {"low": 1, "high": 9, "step": 1}, {"scaling": "log"}),
        ("IntDistribution", {"low": 3, "high": 3, "step": 1, "log": False}, {"value": 3}),
    ],
)
def test_distributions_of_every_version_are_read(kind, attributes, expected) -> None:
    text = {"name": kind, "attributes": attributes}
    parameter = optuna.translate(study({"x": (attributes["low"], text)})).definition["parameters"][
        0
    ]
    assert expected.items() <= parameter.items()
    assert (parameter.get("parameter_type") == "int") is ("Int" in kind and "bounds" in parameter)


def test_bounds_that_changed_are_the_widest_and_told() -> None:
    wider = {**FLOAT, "attributes": {**FLOAT["attributes"], "low": -1.0}}
    found = optuna.translate(study({"x": (0.5, FLOAT)}, {"x": (-0.5, wider)}, {"x": (0.5, FLOAT)}))
    assert found.definition["parameters"][0]["bounds"] == [-1.0, 1.0]
    assert [r for r in reasons(found) if r.startswith("x:")] == [
        "x: its bounds: they changed between trials; here they are the widest, -1 to 1"
    ]


def test_a_condition_that_trials_leave_no_doubt_about_is_a_dependent_parameter() -> None:
    rows = [{"o": "sgd", "m": 0.5}, {"o": "adam"}] * 3
    assert explained("m", rows, {"o": ["sgd", "adam"]}) == ("o", ["sgd"])


@pytest.mark.parametrize(
    "rows",
    [
        [{"o": "sgd", "m": 0.5}, {"o": "adam"}] * 2,  # too few
        [{"o": "sgd", "m": 0.5}, {"o": "adam"}] * 3 + [{"o": "sgd"}],  # not always
        [{"o": "sgd", "p": 1, "m": 0.5}, {"o": "adam", "p": 2}] * 3,  # two parents would do
        [{"o": "sgd", "n": 5, "m": 0.5}, {"o": "adam", "n": 4}] * 3,  # a threshold would do
        [{"o": "sgd", "m": 0.5}] * 3,  # a value was never seen
    ],
)
def test_a_condition_in_doubt_is_none(rows) -> None:
    assert explained("m", rows, {"o": ["sgd", "adam"], "p": [1, 2]}) is None


def test_a_parameter_that_only_some_trials_have_is_named() -> None:
    found = optuna.translate(study({"x": (0.5, FLOAT), "y": (0.5, FLOAT)}, {"x": (0.5, FLOAT)}))
    assert any("y: that it is conditional: 1 of 2 trials have it" in r for r in reasons(found))
    made = made_of(found)
    assert made.arms == 1
    assert made.history == "x,y,value\n0.5,0.5,0.5\n0.5,,0.5\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "the distribution of x cannot be read"),
        ('{"name": "Odd", "attributes": {}}', "is of an unknown kind, 'Odd'"),
        ('{"name": "FloatDistribution", "attributes": {}}', "has no bounds"),
    ],
)
def test_a_distribution_that_is_none_is_a_sentence(text: str, sentence: str) -> None:
    trials = [OptunaTrial(0, [1.0], {"x": (0.5, text)})]
    with pytest.raises(ValueError, match=sentence):
        optuna.translate(Study("s", ["MINIMIZE"], trials, {}, {}))


def test_a_study_without_parameters_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="has no trial with parameters yet"):
        optuna.translate(study())


# --- what is broken is told, and nothing else happens


def paths(data, at=()):
    """Yield where every value of some JSON stands."""
    yield at
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        if isinstance(value, (dict, list)):
            yield from paths(value, (*at, key))
        else:
            yield (*at, key)


def broken(data, path, value):
    """Return ``data`` with the value at ``path`` replaced, or left out where that is ``...``."""
    whole = deepcopy(data)
    place = whole
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return whole


JUNK = st.sampled_from([..., None, [], {}, "", "x", -1, 1e300, True, [[1]], {"a": {}}, "\u2028${"])
SNAPSHOT = json.loads((GOLDEN / "ax.json").read_text())
CONFIGS = {
    "katib": yaml.safe_load((GOLDEN / "katib.yaml").read_text()),
    "wandb": yaml.safe_load((GOLDEN / "wandb.yaml").read_text()),
    "nni": {
        **yaml.safe_load((GOLDEN / "nni/config.yml").read_text()),
        "searchSpace": json.loads((GOLDEN / "nni/search_space.json").read_text()),
    },
}


def nothing_beside(path: str, named: Node) -> Node:
    raise named.wrong("no other file")


@given(st.sampled_from([p for p in paths(SNAPSHOT) if p]), JUNK)
@MORE
def test_a_broken_snapshot_of_ax_is_read_or_refused_in_a_sentence(path, junk) -> None:
    with contextlib.suppress(ConfigError, ValueError):
        assert loaded(made_of(ax.translate(broken(SNAPSHOT, path, junk))).text)


@given(st.data(), JUNK)
@MORE
def test_a_broken_configuration_is_read_or_refused_in_a_sentence(data, junk) -> None:
    name = data.draw(st.sampled_from(sorted(CONFIGS)))
    path = data.draw(st.sampled_from([p for p in paths(CONFIGS[name]) if p]))
    raw = json.dumps(broken(CONFIGS[name], path, junk)).encode()
    with contextlib.suppress(ConfigError):
        root = document(raw, "theirs")
        found = nni.translate(root, nothing_beside) if name == "nni" else WRITERS[name](root)
        assert loaded(made_of(found).text)
