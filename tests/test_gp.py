"""The model: its gradient, and that it says what BoTorch's own says with the same numbers."""

import math

import numpy as np
import pytest

from scheduler.generation.space import Space
from scheduler.model.definition import ExperimentDefinition

pytestmark = [
    # gpytorch's import, at this version of torch.
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated"),
    pytest.mark.filterwarnings("ignore:A not p.d., added jitter"),
]

SPACE = Space(
    ExperimentDefinition.model_validate(
        {
            "name": "toy",
            "parameters": [
                {"name": "x", "type": "range", "bounds": [0, 1]},
                {"name": "n", "type": "range", "parameter_type": "int", "bounds": [0, 10]},
                {"name": "kind", "type": "choice", "values": ["a", "b", "c"]},
            ],
            "objective": "-loss",
            "runner": {"command": ["true"]},
        }
    )
)


def column(count=14, variances=None, seed=0):
    from scheduler.generation.column import Column

    rng = np.random.default_rng(seed)
    points = SPACE.snap(rng.random((count, 3)))
    values = np.sin(5 * points[:, 0]) + points[:, 1] + (points[:, 2] > 0.5)
    values = (values - values.mean()) / values.std(ddof=1)
    return Column("loss", points, values, variances, 1.0, 0.0, 1.0)


def process(**more):
    from scheduler.generation.gp import Fits

    return Fits(SPACE).model(column(**more))


@pytest.mark.parametrize("variances", [None, np.linspace(0.01, 0.3, 14)])
def test_the_gradient_is_that_of_the_value(variances):
    import torch

    from scheduler.generation.fit import STANDARD, LogPosterior
    from scheduler.generation.kernel import Embedding

    target = LogPosterior(Embedding(SPACE), column(variances=variances), STANDARD)
    theta = torch.tensor([[-0.3, 0.4, 0.2, 0.1, -3.0]], dtype=torch.double)
    _, gradient = target(theta)
    for j in range(5 if variances is None else 4):
        step = torch.zeros_like(theta)
        step[0, j] = 1e-5
        slope = (target(theta + step)[0] - target(theta - step)[0]) / 2e-5
        assert float(gradient[0, j]) == pytest.approx(float(slope), rel=1e-5, abs=1e-6)


def test_a_fit_is_a_mode_of_the_posterior_density():
    import torch

    from scheduler.generation.fit import STANDARD, LogPosterior, fitted
    from scheduler.generation.kernel import Embedding

    embedding = Embedding(SPACE)
    theta = fitted(embedding, column())
    target = LogPosterior(embedding, column(), STANDARD)
    best, _ = target(theta[None])
    around = theta + 0.3 * torch.randn(50, 5, dtype=torch.double, generator=_seeded(1))
    assert (target(around)[0] >= best - 1e-6).all()


def test_the_posterior_is_that_of_botorch():
    import torch

    from scheduler.generation.hypervolume import as_botorch

    gp = process(variances=np.linspace(0.01, 0.3, 14))
    points = torch.as_tensor(SPACE.snap(np.random.default_rng(3).random((9, 3))))
    mean, deviation = gp.posterior(points)
    joint_mean, joint = gp.joint(points)
    posterior = as_botorch(gp).posterior(points)
    torch.testing.assert_close(mean, posterior.mean[:, 0], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(joint_mean, mean)
    torch.testing.assert_close(deviation, posterior.variance[:, 0].sqrt(), rtol=1e-5, atol=1e-6)
    covariance = posterior.distribution.covariance_matrix
    torch.testing.assert_close(joint, covariance, rtol=1e-5, atol=1e-6)


def test_the_mean_is_the_most_likely_constant():
    import torch

    gp = process()
    rows = gp.scaled(gp.points)
    inverse = torch.linalg.inv(gp.covariance(rows, rows) + torch.diag(gp.noise))
    expected = (inverse @ gp.values).sum() / inverse.sum()
    assert float(gp.mean) == pytest.approx(float(expected), rel=1e-6)


def test_leaving_one_out_is_fitting_without_it():
    import torch

    variances = np.full(14, 0.05)
    gp = process(variances=variances)
    means, deviations = gp.leave_one_out()
    rows = gp.scaled(gp.points)
    covariance = gp.covariance(rows, rows) + torch.diag(gp.noise)
    for i in (0, 7, 13):
        rest = [j for j in range(14) if j != i]
        solved = torch.linalg.solve(
            covariance[rest][:, rest], (gp.values - gp.mean)[rest].unsqueeze(1)
        )
        mean = gp.mean + covariance[i, rest] @ solved[:, 0]
        assert float(means[i]) == pytest.approx(float(mean), rel=1e-6)
        cross = torch.linalg.solve(covariance[rest][:, rest], covariance[rest, i].unsqueeze(1))
        variance = covariance[i, i] - covariance[i, rest] @ cross[:, 0]
        assert float(deviations[i]) == pytest.approx(math.sqrt(variance), rel=1e-6)


def test_the_improvement_is_that_of_many_joint_draws(monkeypatch):
    import torch

    from scheduler.generation import improvement
    from scheduler.generation.improvement import LogImprovement
    from scheduler.generation.problem import Limit, Problem

    monkeypatch.setattr(improvement, "DRAWS", 4096)

    gp = process(variances=np.full(14, 0.1))
    problem = Problem(
        (gp.column,),
        (gp,),
        torch.ones(1, 1, dtype=torch.double),
        torch.tensor([math.nan]),
        (Limit(0, 1.0, 1.0),),
    )
    pending = torch.tensor([[0.35, 0.5, 0.5]], dtype=torch.double)
    at = torch.tensor([[0.4, 0.9, 0.5], [0.2, 0.1, 0.9]], dtype=torch.double)
    score = LogImprovement(problem, pending, 0)
    points = torch.cat([gp.points, pending, at])
    mean, covariance = gp.joint(points)
    root = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(len(points)))
    normals = torch.randn(200_000, len(points), dtype=torch.double, generator=_seeded(0))
    values = mean + normals @ root.T
    known, new = values[:, :-2], values[:, -2:]
    free = LogImprovement(
        Problem(problem.columns, (gp,), problem.weights, problem.thresholds, ()), pending, 0
    )
    gain = (new - known.amax(1, keepdim=True)).clamp_min(0.0).mean(0)
    torch.testing.assert_close(free(at).exp(), gain, rtol=0.05, atol=5e-4)
    feasible, better = score.probabilities(at)
    torch.testing.assert_close(feasible, (new <= 1.0).double().mean(0), rtol=0.05, atol=0.02)
    assert ((better >= 0) & (better <= feasible + 1e-9)).all()


def test_where_arms_fail_none_are_proposed_and_a_chance_failure_changes_little():
    import torch

    from scheduler.generation.feasibility import log_success
    from scheduler.generation.gp import Fits

    rng = np.random.default_rng(0)
    points = SPACE.snap(rng.random((30, 3)))
    failing = points[:, 0] > 0.7
    chance = log_success(Fits(SPACE), points[~failing], points[failing])
    at = torch.tensor([[0.95, 0.5, 0.5], [0.3, 0.5, 0.5]], dtype=torch.double)
    inside, outside = chance(at).exp().tolist()
    assert inside < 0.1
    assert outside > 0.9
    unlucky = np.arange(30) % 10 == 0
    chance = log_success(Fits(SPACE), points[~unlucky], points[unlucky])
    everywhere = chance(torch.as_tensor(points)).exp()
    assert float(everywhere[~unlucky].min()) > 0.7
    assert float(everywhere.min()) > 0.3
    assert log_success(Fits(SPACE), points, points[:0]) is None


def _seeded(seed):
    import torch

    return torch.Generator().manual_seed(seed)
