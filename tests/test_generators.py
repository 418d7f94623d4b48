"""The generators that come with schedd: the contract, the grid, and uniform draws."""

import itertools
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from spaces import sobol

from scheduler.generation.builtin import Botorch, Grid, Random, Saasbo, Sobol, Thompson, Turbo
from scheduler.generation.grid import GridGenerator
from scheduler.generation.protocol import GenerationRequest, Measured
from scheduler.generation.random import RandomGenerator
from scheduler.generation.space import GenerationError, Space
from scheduler.generation.testing import GeneratorContract
from scheduler.model.definition import ExperimentDefinition
from scheduler.registry import generator_names, traits_of


class TestSobol(GeneratorContract):
    generator = Sobol


class TestRandom(GeneratorContract):
    generator = Random


class TestGrid(GeneratorContract):
    generator = Grid
    options: ClassVar = {"levels": 3}


class TestGridOfTheTrials(GeneratorContract):
    generator = Grid
    requests = 30


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated", "ignore:A not p.d.")
class TestBotorch(GeneratorContract):
    generator = Botorch
    requests = 2


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated", "ignore:A not p.d.")
class TestSaasbo(GeneratorContract):
    generator = Saasbo
    requests = 2


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated", "ignore:A not p.d.")
class TestTurbo(GeneratorContract):
    generator = Turbo
    requests = 2


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated", "ignore:A not p.d.")
class TestThompson(GeneratorContract):
    generator = Thompson
    requests = 2


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated", "ignore:A not p.d.")
@pytest.mark.parametrize("kind", [Saasbo, Turbo, Thompson])
def test_models_search_a_tree_with_constraints_until_nothing_is_left(kind):
    definition = define(
        [
            choice("kind", ["flat", "deep"], dependent_parameters={"deep": ["n", "m"]}),
            whole("n", 0, 2),
            whole("m", 0, 2),
        ],
        parameter_constraints=["n + m <= 2"],
        outcome_constraints=["size <= 1"],
    )
    generator, observed = kind(definition, kind.Options()), []
    start = sobol(definition, 3)
    made = [p.parameters for t in start.trials for p in t]
    for number in range(4):
        observed += [Measured(arm, _tree(arm)) for arm in made]
        request = GenerationRequest(
            definition, "any", number, 1, 1, observed=tuple(observed), cursor=0
        )
        made = [p.parameters for t in generator.generate(request).trials for p in t]
    observed += [Measured(arm, _tree(arm)) for arm in made]
    assert len({tuple(o.parameters.items()) for o in observed}) == len(observed) == 7
    request = replace(request, observed=tuple(observed))
    with pytest.raises(GenerationError, match=r"exist already|new arms"):
        generator.generate(request)


def _tree(arm):
    loss = sum(v for v in arm.values() if isinstance(v, int))
    return {"loss": (loss - 1.0, None), "size": (float(arm.get("n", 0.5)), None)}


def test_the_built_in_generators_are_entry_points():
    built_in = {"sobol", "random", "grid", "botorch", "saasbo", "turbo", "thompson"}
    assert built_in <= set(generator_names())


def test_what_the_loop_knows_of_a_strategys_generators():
    traits = traits_of(define([real("x")]))
    assert traits.keys() == {"sobol", "botorch"}
    assert (traits["sobol"].learns, traits["botorch"].learns) == (False, True)
    assert traits["botorch"].min_observations == 3


def real(name, bounds=(0.0, 1.0), **more):
    return {"name": name, "type": "range", "bounds": list(bounds), **more}


def whole(name, low, high, **more):
    return real(name, (low, high), parameter_type="int", **more)


def choice(name, values, **more):
    return {"name": name, "type": "choice", "values": values, **more}


def define(parameters, **more):
    data = {"name": "e", "parameters": parameters, "objective": "-loss", **more}
    return ExperimentDefinition.model_validate({"runner": {"command": ["true"]}, **data})


def grid(definition, trials, levels=None, count=None, size=1):
    """Return all arms of a grid, or the first ``count``, and whether it is exhausted."""
    generator = GridGenerator(Space(definition), levels)
    request = GenerationRequest(
        definition, "grid", 0, count or 5000, size, node_trials=trials, seen=()
    )
    reply = generator.generate(request)
    return [p.parameters for t in reply.trials for p in t], reply.exhausted


def values(arms, name):
    return sorted({arm[name] for arm in arms})


def test_a_grid_is_the_full_factorial_of_choices_ints_and_steps():
    definition = define(
        [
            choice("c", ["a", "b"]),
            whole("n", 1, 3),
            real("s", (0.0, 1.0), step_size=0.25),
            {"name": "f", "type": "fixed", "value": 1},
        ]
    )
    arms, exhausted = grid(definition, trials=4)
    assert exhausted
    made = {(arm["c"], arm["n"], arm["s"]) for arm in arms}
    assert made == set(itertools.product("ab", (1, 2, 3), (0.0, 0.25, 0.5, 0.75, 1.0)))
    assert len(arms) == 30
    assert {arm["f"] for arm in arms} == {1}


@pytest.mark.parametrize(("trials", "levels"), [(27, 3), (63, 3), (64, 4), (1, 2)])
def test_levels_are_as_many_as_the_trials_allow(trials, levels):
    arms, exhausted = grid(define([real("x"), real("y"), real("z")]), trials)
    assert (len(arms), exhausted) == (levels**3, True)
    assert values(arms, "x") == pytest.approx([k / (levels - 1) for k in range(levels)])


def test_levels_include_the_bounds_and_follow_the_scaling():
    definition = define([real("x", (1e-4, 1.0), scaling="log"), whole("n", 0, 100)])
    arms, _ = grid(definition, 1, levels=5)
    assert values(arms, "x") == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert values(arms, "n") == [0, 25, 50, 75, 100]
    assert len(arms) == 25


def test_one_level_is_the_middle():
    arms, _ = grid(define([real("x", (2.0, 4.0)), choice("c", ["a", "b"])]), 9, levels=1)
    assert sorted(arm["c"] for arm in arms) == ["a", "b"]
    assert values(arms, "x") == [3.0]


def test_a_batch_trial_takes_as_many_points_as_it_has_arms():
    arms, _ = grid(define([real("x")]), trials=4, size=3)
    assert len(arms) == 12


def test_constraints_leave_points_out_and_the_levels_make_up_for_it():
    definition = define([real("x"), real("y")], parameter_constraints=["x + y <= 1"])
    arms, exhausted = grid(definition, trials=100)
    assert exhausted
    assert all(arm["x"] + arm["y"] <= 1 for arm in arms)
    assert 85 <= len(arms) <= 100


def test_the_first_points_of_a_grid_are_scattered():
    arms, _ = grid(define([real("x"), real("y")]), trials=400, count=32)
    for name in "xy":
        assert np.histogram([arm[name] for arm in arms], 8, (0, 1))[0].min() >= 2
    sixteenths = {(int(arm["x"] * 3.999), int(arm["y"] * 3.999)) for arm in arms}
    assert len(sixteenths) >= 15


def test_points_that_exist_are_not_made_again():
    definition = define([choice("c", ["a", "b", "c"])])
    request = GenerationRequest(
        definition, "grid", 0, 3, 1, node_trials=3, seen=({"c": "a"},), pending=({"c": "c"},)
    )
    reply = GridGenerator(Space(definition), None).generate(request)
    assert [p.parameters for t in reply.trials for p in t] == [{"c": "b"}]
    assert reply.exhausted


def test_a_grid_without_end_and_without_a_feasible_point_is_given_up_in_words():
    narrow = [real(f"x{i}") for i in range(12)]
    total = " + ".join(p["name"] for p in narrow)
    definition = define(narrow, parameter_constraints=[f"{total} <= 0.15", f"{total} >= 0.1"])
    generator = GridGenerator(Space(definition), 4)
    request = GenerationRequest(definition, "grid", 0, 1, 1, node_trials=1)
    with pytest.raises(GenerationError, match="too many to go through"):
        generator.generate(request)


def random(definition, count, cursor=0):
    request = GenerationRequest(definition, "random", 0, count, 1, cursor)
    return RandomGenerator(Space(definition)).generate(request)


def test_draws_are_uniform_on_the_scale_of_each_parameter():
    definition = define([real("x", (1e-4, 1.0), scaling="log"), choice("c", ["a", "b", "c"])])
    arms = [t[0].parameters for t in random(definition, 3000).trials]
    decades = np.histogram(np.log10([arm["x"] for arm in arms]), 4, (-4, 0))[0]
    assert abs(decades - 750).max() < 4 * 24  # standard deviations of a binomial count
    assert all(abs(sum(a["c"] == c for a in arms) - 1000) < 4 * 26 for c in "abc")


def test_two_short_requests_give_what_one_long_one_gives():
    definition = define([real("x"), whole("n", 1, 9)])
    first = random(definition, 3)
    second = random(definition, 4, first.cursor)
    assert (*first.trials, *second.trials) == random(definition, 7).trials


def test_draws_follow_the_seed():
    seeds = [{"generation_strategy": {"seed": seed}} for seed in (0, 1)]
    one, other = (random(define([real("x")], **seed), 1) for seed in seeds)
    assert one.trials != other.trials


def test_a_tiny_feasible_part_is_found():
    names = [f"x{i}" for i in range(6)]
    narrow = f"{' + '.join(names)} <= 0.05"
    definition = define([real(n) for n in names], parameter_constraints=[narrow])
    reply = random(definition, 2)
    assert len(reply.trials) == 2
    assert all(sum(t[0].parameters.values()) <= 0.05 for t in reply.trials)
