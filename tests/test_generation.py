"""Spaces, Sobol and the model: what is proposed is admitted, new, and the same every time."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.generation import wire
from scheduler.generation.polytope import Polytope
from scheduler.generation.protocol import GenerationRequest, Measured
from scheduler.generation.sobol import SobolGenerator
from scheduler.generation.space import GenerationError, Space
from scheduler.model.definition import ExperimentDefinition

pytestmark = [
    # gpytorch's import, at this version of torch.
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated"),
    # What happens, and helps, where points nearly coincide and there is no noise.
    pytest.mark.filterwarnings("ignore:A not p.d., added jitter"),
]


def define(parameters, constraints=(), **more):
    outcome = {} if more.keys() & {"objective", "objectives"} else {"objective": "-loss"}
    return ExperimentDefinition.model_validate(
        {
            "name": "toy",
            "parameters": parameters,
            "parameter_constraints": constraints,
            "runner": {"command": ["true"]},
            **outcome,
            **more,
        }
    )


def real(name, lower=0.0, upper=1.0, **more):
    return {"name": name, "type": "range", "bounds": [lower, upper], **more}


def whole(name, lower, upper, **more):
    return real(name, lower, upper, parameter_type="int", **more)


def choice(name, values, **more):
    return {"name": name, "type": "choice", "values": values, **more}


def sobol(definition, trials, cursor=0, **more):
    request = GenerationRequest(
        definition, "sobol", 0, trials, more.pop("size", 1), cursor, **more
    )
    return SobolGenerator(Space(definition)).generate(request)


def arms(reply):
    return [dict(p.parameters) for trial in reply.trials for p in trial]


ranges = st.one_of(
    st.tuples(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3)).map(
        lambda t: {"type": "range", "bounds": (t[0], t[0] + t[1])}
    ),
    st.tuples(st.integers(-50, 50), st.integers(1, 100)).map(
        lambda t: {"type": "range", "parameter_type": "int", "bounds": (t[0], t[0] + t[1])}
    ),
    st.sampled_from([0.1, 0.25, 0.3]).map(
        lambda step: {"type": "range", "bounds": (0.0, 1.0), "step_size": step}
    ),
)
others = st.one_of(
    st.tuples(st.floats(1e-6, 1e3), st.floats(1.5, 1e6)).map(
        lambda t: {"type": "range", "bounds": (t[0], t[0] * t[1]), "scaling": "log"}
    ),
    st.tuples(st.integers(1, 5), st.integers(1, 10**6)).map(
        lambda t: {
            "type": "range",
            "parameter_type": "int",
            "bounds": (t[0], t[0] + t[1]),
            "scaling": "log",
        }
    ),
    st.sampled_from(["abc", "a", "abcdefgh"]).map(lambda s: {"type": "choice", "values": list(s)}),
    st.just({"type": "choice", "values": [1, 2, 4, 8]}),
    st.just({"type": "choice", "values": [True, False]}),
    st.just({"type": "fixed", "value": 3}),
)


@st.composite
def spaces(draw):
    linear = draw(st.lists(ranges, min_size=1, max_size=4))
    rest = draw(st.lists(others, max_size=3))
    parameters = [{"name": f"p{i}", **p} for i, p in enumerate([*linear, *rest])]
    constraints = []
    for _ in range(draw(st.integers(0, 2))):
        weights = {
            f"p{i}": draw(st.sampled_from([-2.0, -1.0, 0.5, 1.0])) for i in range(len(linear))
        }
        # A bound that the lower corner, at least, satisfies.
        at_corner = sum(w * linear[int(n[1:])]["bounds"][0] for n, w in weights.items())
        constraints.append({"weights": weights, "bound": at_corner + draw(st.floats(0.0, 50.0))})
    return define(parameters, constraints)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(definition=spaces())
def test_every_sobol_arm_is_admitted_and_new(definition):
    reply = sobol(definition, 12)
    made = arms(reply)
    assert len(made) == 12 or reply.exhausted
    assert [definition.admit(arm) for arm in made] == made
    assert len({tuple(arm.items()) for arm in made}) == len(made)
    space = Space(definition)
    points = space.encode(made)
    assert ((points >= 0) & (points <= 1)).all()
    for arm, again in zip(made, map(space.values, points), strict=True):
        same = {
            n: v == (pytest.approx(again[n]) if type(v) is float else again[n])
            for n, v in arm.items()
            if n in again
        }
        assert all(same.values()), (arm, again)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(definition=spaces(), cut=st.integers(1, 9))
def test_two_short_requests_give_what_one_long_one_gives(definition, cut):
    whole_reply = sobol(definition, 10)
    first = sobol(definition, cut)
    seen = tuple(arms(first))
    second = sobol(definition, 10 - cut, first.cursor, seen=seen)
    assert arms(first) + arms(second) == arms(whole_reply)


def test_arms_depend_on_the_experiments_seed_only():
    one, two = (define([real("x")], generation_strategy={"seed": s}) for s in (1, 2))
    assert arms(sobol(one, 4)) == arms(sobol(one, 4))
    assert arms(sobol(one, 4)) != arms(sobol(two, 4))


def test_batches_are_grouped_by_trial():
    reply = sobol(define([real("x")]), 3, size=2)
    assert [len(trial) for trial in reply.trials] == [2, 2, 2]


def test_every_value_of_a_stepped_range_is_equally_likely():
    definition = define([whole("n", 0, 4), real("x")])
    counts = np.bincount([arm["n"] for arm in arms(sobol(definition, 1000))])
    assert counts.min() >= 198
    assert counts.max() <= 202


def test_a_log_integer_spreads_over_its_decades():
    definition = define([whole("n", 1, 1000, scaling="log"), real("x")])
    values = [arm["n"] for arm in arms(sobol(definition, 300))]
    assert {type(v) for v in values} == {int}
    small = sum(v <= 10 for v in values) / len(values)
    assert 0.3 < small < 0.45
    assert {1, 2} <= set(values)


def test_extreme_bounds_are_survived():
    definition = define([real("x", -4e307, 4e307), whole("n", 0, 2**53)])
    made = arms(sobol(definition, 20))
    points = Space(definition).encode(made)
    assert ((points >= 0) & (points <= 1)).all()


def test_a_feasible_part_of_a_millionth_of_the_box_is_filled():
    names = [f"x{i}" for i in range(8)]
    definition = define([real(name) for name in names], [" + ".join(names) + " <= 0.68"])
    assert 0.68**8 / math.factorial(8) < 1.2e-6
    made = np.array([list(arm.values()) for arm in arms(sobol(definition, 30))])
    assert len(made) == 30
    # Uniform in the simplex: each coordinate's mean is 0.68 / 9.
    assert np.abs(made.mean(axis=0) - 0.68 / 9).max() < 0.06


def test_constraints_that_leave_no_inside_are_kept_after_rounding():
    parameters = [real("a"), real("b"), whole("n", 0, 1000)]
    definition = define(
        parameters, ["a + b <= 1", "a + b >= 1", "n - 1000 * a <= 0", "1000 * a - n <= 0"]
    )
    for arm in arms(sobol(definition, 10)):
        assert arm["n"] == pytest.approx(1000 * arm["a"])
        assert arm["a"] + arm["b"] == pytest.approx(1)


def test_constraints_that_admit_nothing_exhaust_the_space():
    definition = define([real("a"), real("b")], ["a + b <= 0.5", "a + b >= 0.6"])
    reply = sobol(definition, 2)
    assert reply.exhausted
    assert reply.trials == ()


def test_a_small_space_is_used_up_to_its_last_arm():
    definition = define(
        [whole("n", 0, 3), choice("c", ["a", "b", "c"]), choice("b", [True, False])], ["n <= 2"]
    )
    everything = [
        dict(zip("ncb", v, strict=True)) for v in itertools.product(range(3), "abc", (True, False))
    ]
    reply = sobol(definition, 40, pending=tuple(everything[:2]), seen=tuple(everything[2:5]))
    assert reply.exhausted
    key = lambda arm: tuple(arm.items())  # noqa: E731
    assert sorted(map(key, arms(reply))) == sorted(map(key, everything[5:]))


def test_the_nearest_feasible_point_is_on_the_grid():
    definition = define([whole("n", 0, 9), real("x")], ["n + 9 * x <= 3"])
    space = Space(definition)
    point = Polytope(space).nearest(np.array([0.95, 0.9]))
    assert space.arm(point) is not None
    assert point[0] in space.snap(np.array([[point[0], 0.0]]))[:, 0]


def test_a_request_crosses_the_pipe_unchanged():
    definition = define(
        [real("x"), whole("n", 0, 4), choice("c", ["a", 1]), choice("b", [True, False])],
        ["x + n <= 3"],
        outcome_constraints=["size <= 2"],
    )
    arm = {"x": 0.1, "n": 3, "c": "a", "b": True}
    request = GenerationRequest(
        definition,
        "botorch",
        2**62,
        2,
        3,
        9,
        observed=(Measured(arm, {"loss": (0.1 + 0.2, None), "size": (1e-300, 0.5)}),),
        pending=(arm,),
        seen=(arm, arm),
        baseline={"size": 1.0},
    )
    digest, line = wire.definition_line(definition)
    sent = wire.json.loads(wire.request_line(request, digest, 1))
    again = ExperimentDefinition.model_validate_json(wire.json.loads(line)["definition"])
    assert again == definition
    assert wire.parse_request(sent["request"], again) == request


# From here on: the model.


def botorch(definition, observed, seed=0, trials=1, **more):
    from scheduler.generation.botorch import BotorchGenerator

    generator = more.pop("generator", None) or BotorchGenerator(Space(definition))
    request = GenerationRequest(
        definition, "botorch", seed, trials, more.pop("size", 1), observed=tuple(observed), **more
    )
    return generator.generate(request)


def measure(definition, function, count, sem=None):
    made = arms(sobol(definition, count))
    return [Measured(arm, {k: (v, sem) for k, v in function(arm).items()}) for arm in made]


def optimize(definition, function, start, total, truth=None):
    """Run the loop one trial at a time; return the best true loss."""
    from scheduler.generation.botorch import BotorchGenerator

    generator = BotorchGenerator(Space(definition))
    observed = measure(definition, function, start)
    for index in range(start, total):
        (arm,) = arms(botorch(definition, observed, index, generator=generator))
        observed.append(Measured(arm, {k: (v, None) for k, v in function(arm).items()}))
    return min((truth or function)(o.parameters)["loss"] for o in observed)


def branin(arm):
    x, y = arm["x"], arm["y"]
    bend = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return {"loss": bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10}


BRANIN = define([real("x", -5, 10), real("y", 0, 15)])
LEVELS = {"cedar": 0.7, "delta": 0.3, "alder": 0.9}


def bowl(arm):
    """Best at x = 0.3, n = 7, kind delta; the kinds are apart, and out of order."""
    kind = LEVELS[arm["kind"]]
    return {"loss": (arm["x"] - 0.3) ** 2 + (arm["n"] / 10 - 0.7) ** 2 + abs(kind - 0.3)}


BOWL = define([real("x"), whole("n", 0, 10), choice("kind", list(LEVELS))])


def test_branin_is_solved_in_20_trials():
    assert optimize(BRANIN, branin, 5, 20) - 0.397887 < 0.2


def test_a_mixed_space_is_solved_exactly_where_sobol_is_far_off():
    found = optimize(BOWL, bowl, 5, 13)
    assert found < 1e-3
    assert found < min(bowl(arm)["loss"] for arm in arms(sobol(BOWL, 40)))


def test_noise_is_inferred_and_survived():
    rng = np.random.default_rng(0)

    def noisy(arm):
        return {"loss": bowl(arm)["loss"] + 0.02 * rng.standard_normal()}

    assert optimize(BOWL, noisy, 6, 15, bowl) < 0.02


def test_constraints_of_both_kinds_are_respected():
    def gramacy(arm):
        a, b = arm["a"], arm["b"]
        wave = 1.5 - a - 2 * b - 0.5 * math.sin(2 * math.pi * (a * a - 2 * b))
        return {"loss": a + b, "wave": wave, "disc": a * a + b * b - 1.5}

    definition = define(
        [real("a"), real("b")],
        ["a - b <= 0.3"],
        outcome_constraints=["wave <= 0", "disc <= 0"],
    )
    observed = measure(definition, gramacy, 8)
    for index in range(5):
        reply = botorch(definition, observed, index)
        (arm,) = arms(reply)
        assert definition.admit(arm) == arm
        assert set(reply.trials[0][0].prediction) == {"loss", "wave", "disc"}
        observed.append(Measured(arm, {k: (v, None) for k, v in gramacy(arm).items()}))
    good = [o.metrics["loss"][0] for o in observed if o.metrics["wave"][0] <= 0]
    assert min(good) < 0.7  # The optimum is 0.5998; Sobol's first 40 points reach 0.8.


def test_pending_arms_are_not_proposed_again_nor_their_neighbourhood():
    observed = measure(BRANIN, branin, 12)
    (first,) = arms(botorch(BRANIN, observed))
    (second,) = arms(botorch(BRANIN, observed, pending=(first,)))
    points = Space(BRANIN).encode([first, second])
    assert np.abs(points[0] - points[1]).max() > 0.01


def test_a_batch_has_arms_that_differ():
    made = arms(botorch(BOWL, measure(BOWL, bowl, 8), trials=2, size=2))
    assert len({tuple(arm.items()) for arm in made}) == 4


def test_a_fitted_model_in_memory_changes_nothing():
    from scheduler.generation.botorch import BotorchGenerator

    observed = measure(BOWL, bowl, 8)
    used = BotorchGenerator(Space(BOWL))
    (first,) = arms(botorch(BOWL, observed, generator=used))
    again = botorch(BOWL, observed, pending=(first,), generator=used)
    assert again == botorch(BOWL, observed, pending=(first,))


def test_predictions_are_in_the_metrics_own_units():
    definition = define([real("x")])
    observed = [Measured({"x": i / 9}, {"loss": (1e6 + 1e3 * i / 9, None)}) for i in range(10)]
    prediction = botorch(definition, observed).trials[0][0].prediction["loss"]
    assert prediction["mean"] == pytest.approx(1e6, abs=50)
    assert 0 <= prediction["sem"] < 50


def test_known_standard_errors_are_used():
    exact = botorch(BOWL, measure(BOWL, bowl, 8, sem=0.0)).trials[0][0].prediction
    vague = botorch(BOWL, measure(BOWL, bowl, 8, sem=1.0)).trials[0][0].prediction
    assert vague["loss"]["sem"] > 0
    assert vague != exact


def test_several_objectives_with_and_without_thresholds():
    def two(arm):
        return {"loss": arm["x"] ** 2 + arm["y"], "cost": (arm["x"] - 1) ** 2 + arm["y"]}

    for threshold in (None, 0.9):
        definition = define(
            [real("x"), real("y")],
            objectives=[
                {"metric": "loss", "minimize": True, "threshold": threshold},
                {"metric": "cost", "minimize": True},
            ],
        )
        (arm,) = arms(botorch(definition, measure(definition, two, 8)))
        assert arm["y"] < 0.2
    from botorch.acquisition.multi_objective import logei

    assert logei._C is None  # Nothing was compiled.


def test_a_relative_constraint_binds_once_the_baseline_is_known():
    definition = define(
        [real("x")],
        outcome_constraints=["size <= 1.1 * baseline"],
        status_quo={"parameters": {"x": 0.5}},
    )
    observed = measure(definition, lambda arm: {"loss": -arm["x"], "size": arm["x"]}, 8)
    (free,) = arms(botorch(definition, observed))
    (bound,) = arms(botorch(definition, observed, baseline={"size": 0.5}))
    assert free["x"] > 0.9
    assert bound["x"] < 0.7


def test_a_weighted_sum_is_optimized_where_each_part_alone_is_best_elsewhere():
    definition = define([real("x")], objective="-10 * left + 0.001 * right")

    def parts(arm):
        return {"left": arm["x"] ** 2, "right": 1e4 * (1 - (arm["x"] - 0.6) ** 2)}

    (arm,) = arms(botorch(definition, measure(definition, parts, 8)))
    assert abs(arm["x"] - 0.3) < 0.05


def test_an_outlier_does_not_flatten_the_rest():
    definition = define([real("x")])
    observed = [
        *measure(definition, lambda arm: {"loss": (arm["x"] - 0.3) ** 2}, 8),
        Measured({"x": 0.99}, {"loss": (1e30, None)}),
    ]
    (arm,) = arms(botorch(definition, observed))
    assert abs(arm["x"] - 0.3) < 0.1


def test_a_finite_space_is_searched_without_repeating_an_arm():
    definition = define([whole("n", 0, 5), choice("c", ["a", "b"])])
    left = {(n, c) for n in range(6) for c in "ab"}
    observed = []
    for index in range(12):
        if len(observed) < 3:
            (arm,) = arms(sobol(definition, 1, seen=tuple(o.parameters for o in observed)))
        else:
            (arm,) = arms(botorch(definition, observed, index))
        left.remove((arm["n"], arm["c"]))
        observed.append(Measured(arm, {"loss": (abs(arm["n"] - 2) + (arm["c"] == "a"), None)}))
    with pytest.raises(GenerationError, match="exist already"):
        botorch(definition, observed)


@pytest.mark.parametrize(
    ("values", "why"),
    [([1.0], "fewer than two"), ([1.0, 1.0, 1.0], "are equal"), ([0.0, 0.0], "are equal")],
)
def test_what_no_model_can_learn_from_is_refused_in_words(values, why):
    definition = define([real("x")])
    observed = [Measured({"x": i / 9}, {"loss": (v, None)}) for i, v in enumerate(values)]
    with pytest.raises(GenerationError, match=why):
        botorch(definition, observed)


def test_repeated_points_are_no_trouble():
    definition = define([real("x")])
    observed = [Measured({"x": 0.5}, {"loss": (v, 0.0)}) for v in (1.0, 1.1, 0.9, 1.0)]
    observed.append(Measured({"x": 0.1}, {"loss": (3.0, 0.0)}))
    assert len(arms(botorch(definition, observed))) == 1
