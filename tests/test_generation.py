"""The model: what is proposed is admitted, new, better, and the same every time."""

import math

import numpy as np
import pytest
from spaces import arms, choice, define, real, sobol, whole

from scheduler.generation import wire
from scheduler.generation.protocol import GenerationRequest, Measured
from scheduler.generation.space import GenerationError, Space
from scheduler.model.definition import ExperimentDefinition

pytestmark = [
    # gpytorch's import, at this version of torch.
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated"),
    # What happens, and helps, where points nearly coincide and there is no noise.
    pytest.mark.filterwarnings("ignore:A not p.d., added jitter"),
]


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


def botorch(definition, observed, seed=0, trials=1, **more):
    from scheduler.generation.botorch.generator import BotorchGenerator

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
    from scheduler.generation.botorch.generator import BotorchGenerator

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


def test_a_tree_is_searched_in_the_branch_that_pays():
    definition = define(
        [
            choice("kind", ["flat", "deep"], dependent_parameters={"deep": ["x", "n"]}),
            real("x"),
            whole("n", 0, 9),
            real("y"),
        ],
        ["x + y <= 1"],
    )

    def deep(arm):
        depth = 1.0 if arm["kind"] == "flat" else abs(arm["x"] - 0.2) + abs(arm["n"] - 6) / 9
        return {"loss": depth + (arm["y"] - 0.7) ** 2}

    observed = measure(definition, deep, 6)
    for index in range(10):
        (arm,) = arms(botorch(definition, observed, index))
        assert definition.admit(arm) == arm
        observed.append(Measured(arm, {"loss": (deep(arm)["loss"], None)}))
    assert min(o.metrics["loss"][0] for o in observed) < 0.1


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
    from scheduler.generation.botorch.generator import BotorchGenerator

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
    assert abs(arm["x"] - 0.3) < 0.2


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
