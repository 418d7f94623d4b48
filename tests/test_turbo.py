"""The trust region: how it follows its luck, what it holds, and that arms stay in it."""

import numpy as np
import pytest
from spaces import arms, choice, define, real, sobol, whole

from scheduler.generation.protocol import GenerationRequest, Measured
from scheduler.generation.space import GenerationError, Space

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated"),
    pytest.mark.filterwarnings("ignore:A not p.d., added jitter"),
]
NAMES = ("loss", "size", "speed")
UNLUCKY = [0.0] * 10


def followed(values, opened=2, losses=4, size=1):
    from scheduler.generation.botorch.turbo import Pace, followed

    return followed(np.array(values, dtype=float), opened, Pace(losses, size))


@pytest.mark.parametrize(
    ("values", "length"),
    [
        ([], 0.8),
        ([5, 1, 2, 3], 0.8),
        ([5, 1, 6, 7], 0.8),
        ([5, 1, 6, 7, 8], 1.6),  # three in a row
        ([5, 1, 6, 7, 1, 8], 0.8),  # not in a row
        ([5, 1, 6, 7, 8, 9, 10, 11], 1.6),  # and no longer than that
        ([5, 1, *[1] * 4], 0.4),
        ([5, 1, *[1] * 8], 0.2),
        ([5, 1, 1, 1, 1, 6, 1, 1, 1], 0.8),
        ([5, 1, 5.0001, 5.0002, 5.0003], 0.8),  # hardly an improvement
    ],
)
def test_a_region_grows_with_improvements_in_a_row_and_shrinks_without(values, length):
    assert followed(values).length == length


def test_arms_that_others_made_do_not_count():
    assert followed([5, *UNLUCKY], opened=11).length == 0.8
    assert followed([5, *UNLUCKY], opened=1).length == 0.2


def test_arms_measured_together_count_as_one():
    values = [5, 1, *[1, 6], *[7, 1], *[8, 1]]
    assert followed(values, size=2).length == 1.6
    assert followed(values).length == 0.8
    assert followed([*values, 9], size=2).length == 1.6  # half a round says nothing yet


def test_a_region_that_has_shrunk_to_nothing_begins_anew_and_forgets():
    from scheduler.generation.botorch.turbo import OPENING

    spent = [5, 1, *[1] * 28]
    assert (followed(spent[:-1]).start, followed(spent[:-1]).length) == (0, 0.8 / 64)
    again = followed(spent)
    assert (again.start, again.ready, again.length) == (30, 30 + OPENING, 0.8)
    # 3 would be no improvement on 5; it is one on what came since.
    luck = followed([*spent, *[0] * OPENING, 2, 3, 4])
    assert (luck.start, luck.length) == (30, 1.6)


def request(definition, observed, seed=0, **more):
    return GenerationRequest(definition, "turbo", seed, 1, 1, observed=tuple(observed), **more)


def measured(definition, count, loss):
    return [Measured(a, {"loss": (loss(a), None)}) for a in arms(sobol(definition, count))]


def generator(definition):
    from scheduler.generation.botorch.turbo import TurboGenerator

    return TurboGenerator(Space(definition))


def test_what_is_feasible_is_better_than_what_is_not():
    from scheduler.generation.botorch.turbo import worth

    definition = define([real("x")], outcome_constraints=["size <= 1", "speed >= 0"])
    rows = [(9, 1, 0), (0, 2, 0), (0, 1.5, 0), (-5, 9, -1), (3, 0, 1)]
    observed = [
        Measured({"x": k / 9}, {m: (v, None) for m, v in zip(NAMES, row, strict=True)})
        for k, row in enumerate(rows)
    ]
    values = worth(request(definition, observed), observed, definition.all_objectives[0])
    assert np.argsort(-values).tolist() == [4, 0, 2, 1, 3]


MIXED = define(
    [real("x"), real("y"), whole("n", 0, 100), whole("few", 0, 2), choice("kind", ["a", "b", "c"])]
)


def bowl(arm):
    kind = {"a": 0.0, "b": 0.3, "c": 0.5}[arm["kind"]]
    return (arm["x"] - 0.4) ** 2 + (arm["n"] / 100 - 0.6) ** 2 + arm["few"] / 2 + kind


@pytest.mark.parametrize("length", [0.8, 0.01])
def test_a_box_is_around_the_best_arm_and_holds_the_neighbours(length):
    from scheduler.generation.botorch.generator import BELIEFS
    from scheduler.generation.botorch.gp import Fits
    from scheduler.generation.botorch.problem import posed
    from scheduler.generation.botorch.turbo import UNEVEN, box

    space = Space(MIXED)
    problem = posed(space, Fits(space), request(MIXED, measured(MIXED, 16, bowl)), BELIEFS)
    low, high = box(space, length, problem)
    centre = problem.observed[problem.ranking()[0]].numpy()
    assert (low <= centre).all()
    assert (centre <= high).all()
    assert (high - low)[:2].max() <= length * UNEVEN
    assert low[:2].min() >= 0
    assert high[:2].max() <= 1
    n, few = centre[2], centre[3]
    assert max(0.5 / 101, n - 1 / 101) == pytest.approx(low[2]) or length > 0.1
    assert high[2] >= min(100.5 / 101, n + 1 / 101) - 1e-9
    assert high[3] - low[3] >= (2 / 3 if few == 0.5 else 1 / 3) - 1e-9
    assert (low[4], high[4]) == (0, 1)


def test_a_parameter_that_the_best_arm_does_not_have_is_free():
    from scheduler.generation.botorch.generator import BELIEFS
    from scheduler.generation.botorch.gp import Fits
    from scheduler.generation.botorch.problem import posed
    from scheduler.generation.botorch.turbo import box

    tree = define(
        [choice("kind", ["flat", "deep"], dependent_parameters={"deep": ["x"]}), real("x")]
    )
    space = Space(tree)
    observed = measured(tree, 8, lambda arm: arm.get("x", -1.0))
    problem = posed(space, Fits(space), request(tree, observed), BELIEFS)
    low, high = box(space, 0.05, problem)
    assert (low[1], high[1]) == (0, 1)


LINE = define(
    [real("x"), real("y")],
    ["x + y <= 1.2"],
    generation_strategy={
        "nodes": [{"generator": "sobol", "num_trials": 5}, {"generator": "turbo"}]
    },
)


def test_arms_of_a_small_region_are_near_the_best_arm_and_keep_the_constraints():
    def loss(arm):
        return (arm["x"] - 0.6) ** 2 + (arm["y"] - 0.6) ** 2

    observed = measured(LINE, 4, loss)
    best = {"x": 0.55, "y": 0.55}
    observed += [Measured(best, {"loss": (loss(best), None)})]
    bad = [a for a in arms(sobol(LINE, 40, 4)) if loss(a) > loss(best)][:16]
    observed += [Measured(a, {"loss": (loss(a), None)}) for a in bad]
    made = generator(LINE).generate(request(LINE, observed, node=1))
    (arm,) = arms(made)
    # Four times four arms without an improvement: a box of mean side 0.05.
    assert abs(arm["x"] - 0.55) < 0.15
    assert abs(arm["y"] - 0.55) < 0.15
    assert arm["x"] + arm["y"] <= 1.2
    assert made == generator(LINE).generate(request(LINE, observed, node=1))


def test_arms_measured_elsewhere_and_by_earlier_nodes_do_not_count():
    from scheduler.generation.botorch.turbo import opening

    observed = measured(LINE, 30, lambda arm: arm["x"])
    here = tuple(o.parameters for o in observed[20:])
    turbo, after = generator(LINE), request(LINE, observed, node=1, seen=here)
    assert turbo._elsewhere(after, observed) == 20
    assert turbo._elsewhere(request(LINE, observed), observed) == 0
    assert (opening(after), opening(request(LINE, observed, node=0))) == (5, 0)


def test_a_search_that_ends_is_followed_by_arms_that_fill_the_space():
    observed = measured(LINE, 40, lambda arm: 0.0)
    observed[0] = Measured(observed[0].parameters, {"loss": (-1.0, None)})
    spent = observed[: 5 + 4 * 7]
    made = arms(generator(LINE).generate(request(LINE, spent, node=1, sobol_cursor=90)))
    assert made == arms(sobol(LINE, 1, 90))


def test_several_objectives_are_refused_in_words():
    several = define([real("x")], objective="-a, -b")
    with pytest.raises(GenerationError, match="follows one objective"):
        generator(several).generate(request(several, []))
