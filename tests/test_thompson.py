"""Thompson sampling: draws are the model's, winners are counted, and weights say how often."""

import pytest
from spaces import arms, define, real, sobol

from scheduler.generation.protocol import GenerationRequest, Measured
from scheduler.generation.space import Space

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated"),
    pytest.mark.filterwarnings("ignore:A not p.d., added jitter"),
]


def measured(definition, function, count=8):
    return tuple(
        Measured(arm, {k: (v, None) for k, v in function(arm).items()})
        for arm in arms(sobol(definition, count))
    )


def proposals(definition, observed, size=1, seed=0, **more):
    from scheduler.generation.botorch.thompson import ThompsonGenerator

    request = GenerationRequest(definition, "thompson", seed, 1, size, observed=observed, **more)
    (trial,) = ThompsonGenerator(Space(definition)).generate(request).trials
    return trial


def test_those_that_win_most_draws_are_chosen_and_others_fill_up():
    import torch

    from scheduler.generation.botorch.thompson import weights, winners

    scores = torch.tensor([[0, 9, 1, 0], [0, 9, 2, 0], [8, 7, 1, 0], [0, 9, 1, 0.0]])
    assert winners(scores, 1) == ([1], [3])
    assert winners(scores, 2) == ([1, 0], [3, 1])
    # Without the two, the third is best in every draw; it has won none.
    assert winners(scores, 3) == ([1, 0, 2], [3, 1, 0])
    assert weights([3, 1, 0]) == pytest.approx([9 / 5, 3 / 5, 3 / 5])


def test_draws_have_the_moments_of_the_posterior():
    import torch

    from scheduler.generation.botorch.generator import BELIEFS
    from scheduler.generation.botorch.gp import Fits
    from scheduler.generation.botorch.problem import posed
    from scheduler.generation.botorch.thompson import _drawn

    space = Space(BOWL)
    request = GenerationRequest(BOWL, "thompson", 0, 1, 1, observed=measured(BOWL, bowl, 4))
    problem = posed(space, Fits(space), request, BELIEFS)
    points = torch.as_tensor(space.encode(arms(sobol(BOWL, 5, 50))))
    draws = _drawn(problem, points, 6000, torch.Generator().manual_seed(0))[..., 0]
    mean, deviation = problem.moments(points)
    assert ((draws.mean(0) - mean[:, 0]).abs() < 0.08 * deviation[:, 0] + 1e-3).all()
    assert ((draws.std(0) / deviation[:, 0] - 1.0).abs() < 0.1).all()


def bowl(arm):
    return {"loss": (arm["x"] - 0.3) ** 2 + (arm["y"] - 0.7) ** 2}


BOWL = define([real("x"), real("y")])


def test_a_batch_has_distinct_arms_whose_weights_are_shares():
    trial = proposals(BOWL, measured(BOWL, bowl), size=5)
    shares = [p.weight for p in trial]
    assert sum(shares) == pytest.approx(5)
    assert shares == sorted(shares, reverse=True)
    assert len({tuple(p.parameters.values()) for p in trial}) == 5
    assert all(p.prediction["loss"]["sem"] > 0 for p in trial)


def test_one_arm_is_the_winner_of_one_draw_which_follows_the_seed():
    observed = measured(BOWL, bowl, 4)
    one, same, other = (proposals(BOWL, observed, seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    assert one[0].weight == 1


def test_the_optimum_is_approached():
    observed = measured(BOWL, bowl, 5)
    for seed in range(8):
        (p,) = proposals(BOWL, observed, seed=seed)
        loss = bowl(p.parameters)["loss"]
        observed += (Measured(p.parameters, {"loss": (loss, None)}),)
    assert min(bowl(o.parameters)["loss"] for o in observed) < 2e-3


def test_outcome_constraints_are_kept_in_each_draw():
    definition = define([real("x"), real("y")], outcome_constraints=["size <= 0.5"])
    observed = measured(definition, lambda a: {"loss": a["x"], "size": 1.0 - a["x"]}, 12)
    trial = proposals(definition, observed, size=4)
    assert all(0.45 < p.parameters["x"] < 0.65 for p in trial)


def test_where_nothing_is_feasible_the_least_excess_wins():
    definition = define([real("x")], outcome_constraints=["size <= -1"])
    observed = measured(definition, lambda a: {"loss": a["x"], "size": 1.0 - a["x"]}, 8)
    (p,) = proposals(definition, observed)
    assert p.parameters["x"] > 0.9


def test_a_region_that_fails_is_left_alone():
    observed = measured(BOWL, bowl, 12)
    fails = tuple({"x": 0.2 + 0.02 * k, "y": 0.6 + 0.03 * k} for k in range(8))
    observed = tuple(o for o in observed if o.parameters["x"] > 0.5)
    trial = proposals(BOWL, observed, size=3, failed=fails)
    assert not any(p.parameters["x"] < 0.4 and 0.55 < p.parameters["y"] < 0.85 for p in trial)


def test_several_objectives_are_weighed_anew_in_each_draw():
    definition = define([real("x")], objective="-near, -far")
    observed = measured(definition, lambda a: {"near": a["x"] ** 2, "far": (a["x"] - 1) ** 2}, 8)
    found = [p.parameters["x"] for p in proposals(definition, observed, size=12)]
    assert min(found) < 0.3
    assert max(found) > 0.7
