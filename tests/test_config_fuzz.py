"""A full definition with any one value or key replaced: it loads, or says why in sentences."""

import copy
import itertools
import json
import random

import pytest

from scheduler import registry
from scheduler.config.errors import ConfigError
from scheduler.config.feasible import conflict
from scheduler.config.load import load_text
from scheduler.model.constraints import ParameterConstraint
from scheduler.model.parameters import RangeParameter

FULL = {
    "name": "a",
    "tags": {"a": "b"},
    "parameters": [
        {"name": "x", "type": "range", "bounds": [0, 1], "step_size": 0.1, "scaling": "linear"},
        {"name": "n", "type": "range", "bounds": [0, 10], "parameter_type": "int"},
        {"name": "c", "type": "choice", "values": [1, 2], "is_ordered": True},
        {"name": "f", "type": "fixed", "value": 3, "parameter_type": "int"},
    ],
    "parameter_constraints": [
        "x + n <= 3",
        {"type": "sum", "parameters": ["x", "n"], "bound": 9, "is_upper_bound": True},
        {"type": "order", "lower_parameter": "x", "upper_parameter": "n"},
        {"type": "linear", "weights": {"x": 1}, "bound": 2},
    ],
    "objectives": [{"metric": "l", "minimize": True, "threshold": 3}, "m"],
    "outcome_constraints": ["q <= 1.1 * baseline", {"metric": "q", "op": "<=", "bound": 3}],
    "status_quo": {"parameters": {"x": 0, "n": 1, "c": 1}},
    "arms": [{"name": "p", "parameters": {"x": 0.1, "n": 1, "c": 1}}],
    "metrics": {"l": {"fetcher": {"type": "json", "key": "a"}, "sem": 0.1}, "m": {}, "q": {}},
    "missing_metrics": {"retry_for": "10m", "then": "fail"},
    "generation_strategy": {"nodes": [{"generator": "sobol", "num_trials": 3}], "seed": 3},
    "trials": {"total_trials": 3, "ttl": "3h"},
    "stopping_criteria": {"timeout": "3h", "goal": {"metric": "l", "value": 3}},
    "failures": {"retries": {"infra": 3}, "backoff": {"initial": "3s", "factor": 2}},
    "runner": {"command": ["a", "--x={params.x}"], "env": {"A": "b"}, "local": {}},
}
VALUES = [None, True, 0, -1, 1.5, 1e308, -1e308, 2**53, "", "a", "{params.x}", "{z}", "-x", "\n"]
VALUES += ["1e999", "nan", "x" * 3000, "x <= 1", [], [1], ["a", "a"], [None], [[]], {}, {"a": 1}]
VALUES += [{"type": "range"}, {"": None}]


def paths(data, path=()):
    inside = enumerate(data) if isinstance(data, list) else ()
    for key, value in data.items() if isinstance(data, dict) else inside:
        yield (*path, key)
        yield from paths(value, (*path, key))


def changed(path, value, as_key):
    data = copy.deepcopy(FULL)
    parent = data
    for part in path[:-1]:
        parent = parent[part]
    if as_key:
        parent[value] = parent.pop(path[-1])
    else:
        parent[path[-1]] = value
    return json.dumps(data)


def test_the_full_definition_is_good():
    assert load_text(json.dumps(FULL), "e", registry).name == "a"


@pytest.mark.parametrize("value", VALUES, ids=lambda v: repr(v)[:12])
def test_a_value_or_key_that_does_not_belong_is_said_in_sentences(value):
    for path in paths(FULL):
        for as_key in {False, isinstance(value, str) and isinstance(path[-1], str)}:
            try:
                load_text(changed(path, value, as_key), "e", registry)
            except ConfigError as error:
                said = error.mistakes
            else:
                continue
            for mistake in said:
                assert "\n" not in mistake.message, path
                assert "Input should" not in mistake.message, path
                assert mistake.line is not None


def test_feasibility_agrees_with_trying_every_point():
    random.seed(1)
    for _ in range(200):
        lows = {name: random.randint(-3, 3) for name in "abc"}
        spans = {name: (low, low + random.randint(1, 5)) for name, low in lows.items()}
        ranges = {
            n: RangeParameter(name=n, parameter_type="int", bounds=b) for n, b in spans.items()
        }
        constraints = [random_constraint() for _ in range(random.randint(1, 4))]
        grid = itertools.product(*(range(low, high + 1) for low, high in spans.values()))
        points = (dict(zip("abc", point, strict=True)) for point in grid)
        possible = any(all(c.holds(point) for c in constraints) for point in points)
        assert (conflict(ranges, constraints) is None) == possible


def random_constraint():
    names = random.sample("abc", random.randint(1, 3))
    weights = {name: random.choice([-2, -1, 1, 2, 3, 0.5]) for name in names}
    return ParameterConstraint(weights=weights, bound=random.choice([-4, -2.5, -1, 0, 1, 2.2]))
