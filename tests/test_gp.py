"""The model: its gradient, and that it says what BoTorch's own says with the same numbers."""

import dataclasses
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
    from scheduler.generation.botorch.column import Column

    rng = np.random.default_rng(seed)
    points = SPACE.snap(rng.random((count, 3)))
    values = np.sin(5 * points[:, 0]) + points[:, 1] + (points[:, 2] > 0.5)
    values = (values - values.mean()) / values.std(ddof=1)
    return Column("loss", points, values, variances, 1.0, 0.0, 1.0)


def process(**more):
    from scheduler.generation.botorch.gp import Fits

    return Fits(SPACE).model(column(**more))


@pytest.mark.parametrize("shape", ["SMOOTH", "ROUGH"])
@pytest.mark.parametrize("variances", [None, np.linspace(0.01, 0.3, 14)])
def test_the_gradient_is_that_of_the_value(variances, shape):
    import torch

    from scheduler.generation.botorch.fit import Belief, LogPosterior
    from scheduler.generation.botorch.kernel import Embedding, Shape

    belief = Belief(shape=Shape[shape])
    target = LogPosterior(Embedding(SPACE), column(variances=variances), belief)
    theta = torch.tensor([[-0.3, 0.4, 0.2, 0.1, -3.0]], dtype=torch.double)
    _, gradient = target(theta)
    for j in range(5 if variances is None else 4):
        step = torch.zeros_like(theta)
        step[0, j] = 1e-5
        slope = (target(theta + step)[0] - target(theta - step)[0]) / 2e-5
        assert float(gradient[0, j]) == pytest.approx(float(slope), rel=1e-5, abs=1e-6)


def test_a_fit_is_a_mode_of_the_posterior_density():
    import torch

    from scheduler.generation.botorch.fit import STANDARD, LogPosterior, fitted
    from scheduler.generation.botorch.kernel import Embedding

    target = LogPosterior(Embedding(SPACE), column(), STANDARD)
    theta = fitted(target)
    best, _ = target(theta[None])
    around = theta + 0.3 * torch.randn(50, 5, dtype=torch.double, generator=_seeded(1))
    assert (target(around)[0] >= best - 1e-6).all()


def test_hyperparameters_are_drawn_as_often_as_they_are_likely():
    """Against importance sampling from a wide box: means and spreads of the logarithms."""
    import torch

    from scheduler.generation.botorch.fit import STANDARD, LogPosterior, fitted
    from scheduler.generation.botorch.kernel import Embedding
    from scheduler.generation.botorch.sample import drawn

    target = LogPosterior(Embedding(SPACE), column(), STANDARD)
    mode = fitted(target)
    draws = drawn(target, mode, 240)
    low, high = draws.min(0).values - 1.5, draws.max(0).values + 1.5
    uniform = torch.rand(100_000, 5, dtype=torch.double, generator=_seeded(0))
    box = low + (high - low) * uniform
    density = torch.cat([-target(part)[0] for part in box.split(5000)]) + box.sum(-1)
    weight = torch.softmax(density, 0)[:, None]
    expected = (weight * box).sum(0)
    spread = (weight * (box - expected).square()).sum(0).sqrt()
    assert ((draws.mean(0) - expected).abs() < 0.7 * spread).all()
    assert (draws.std(0) > 0.3 * spread).all()
    assert (draws.std(0) < 2.0 * spread).all()
    assert (drawn(target, mode, 3) == drawn(target, mode, 3)).all()


def botorchs(gp):
    """Return BoTorch's own model with the hyperparameters of the first member."""
    from botorch.models import SingleTaskGP
    from gpytorch.kernels import Kernel
    from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
    from gpytorch.means import ConstantMean

    class Fitted(Kernel):
        def forward(self, x1, x2, diag=False, **_):
            a = gp.embedding.scaled(x1, gp.lengthscales[0])
            b = gp.embedding.scaled(x2, gp.lengthscales[0])
            squares = (a[..., :, None, :] - b[..., None, :, :]).square().sum(-1)
            covariance = gp.outputscale[0] * (-0.5 * squares).exp()
            return covariance.diagonal(dim1=-2, dim2=-1) if diag else covariance

    mean = ConstantMean()
    mean.constant.data = gp.mean[0, 0].clone()
    model = SingleTaskGP(
        gp.points,
        gp.values[:, None],
        gp.noise[0, :, None],
        likelihood=FixedNoiseGaussianLikelihood(gp.noise[0]),
        covar_module=Fitted(),
        mean_module=mean,
        outcome_transform=None,
    )
    return model.double().eval()


def test_the_posterior_is_that_of_botorch():
    import torch

    gp = process(variances=np.linspace(0.01, 0.3, 14))
    points = torch.as_tensor(SPACE.snap(np.random.default_rng(3).random((9, 3))))
    mean, deviation = gp.posterior(points)
    joint_mean, joint = gp.joint(points)
    posterior = botorchs(gp).posterior(points)
    torch.testing.assert_close(mean[0], posterior.mean[:, 0], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(joint_mean, mean)
    torch.testing.assert_close(deviation[0], posterior.variance[:, 0].sqrt(), rtol=1e-5, atol=1e-6)
    covariance = posterior.distribution.covariance_matrix
    torch.testing.assert_close(joint[0], covariance, rtol=1e-5, atol=1e-6)


def test_members_are_what_each_is_alone():
    import torch

    from scheduler.generation.botorch.gp import Fits, GaussianProcess
    from scheduler.generation.botorch.kernel import Shape

    fits = Fits(SPACE)
    broad = fits.model(column(), broad=True)
    assert len(broad.noise) > 3
    points = torch.as_tensor(SPACE.snap(np.random.default_rng(3).random((9, 3))))
    (theta,) = (t for t in fits._thetas.values() if len(t) > 1)
    alone = GaussianProcess(fits.embedding, column(), Shape.SMOOTH, theta[2:3])
    for all_of_them, one in zip(broad.posterior(points), alone.posterior(points), strict=True):
        torch.testing.assert_close(all_of_them[2:3], one)


def test_the_mean_is_the_most_likely_constant():
    import torch

    gp = process()
    rows = gp.scaled(gp.points)
    inverse = torch.linalg.inv(gp.covariance(rows, rows)[0] + torch.diag(gp.noise[0]))
    expected = (inverse @ gp.values).sum() / inverse.sum()
    assert float(gp.mean[0, 0]) == pytest.approx(float(expected), rel=1e-6)


def test_the_slope_of_the_log_improvement_is_right_far_out_too():
    import torch

    from scheduler.generation.botorch.standard import log_improvement

    at = torch.tensor([-1e40, -1e5, -300.0, -8.0, -1.0, 0.0, 0.5, 9.0, 1e4], dtype=torch.double)
    one = torch.ones_like(at)
    leaf = at.clone().requires_grad_(True)
    value = log_improvement(leaf, one)
    assert torch.isfinite(value).all()
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    known = [1e40, 1e5, 300.00666, None, None, 0.5 / 0.3989422804, None, 1 / 9.0, 1e-4]
    direct = torch.log(_density(at[4:7]) + at[4:7] * torch.special.ndtr(at[4:7]))
    torch.testing.assert_close(value[4:7], direct, rtol=1e-9, atol=1e-9)
    for got, want in zip(slope.tolist(), known, strict=True):
        assert want is None or got == pytest.approx(want, rel=1e-4)
    near = at[2:8].clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda u: log_improvement(u, one[2:8]), near)


def test_leaving_one_out_is_fitting_without_it():
    import torch

    variances = np.full(14, 0.05)
    gp = process(variances=variances)
    (means,), (deviations,) = gp.leave_one_out()
    rows = gp.scaled(gp.points)
    covariance = gp.covariance(rows, rows)[0] + torch.diag(gp.noise[0])
    constant = gp.mean[0, 0]
    for i in (0, 7, 13):
        rest = [j for j in range(14) if j != i]
        solved = torch.linalg.solve(
            covariance[rest][:, rest], (gp.values - constant)[rest].unsqueeze(1)
        )
        mean = constant + covariance[i, rest] @ solved[:, 0]
        assert float(means[i]) == pytest.approx(float(mean), rel=1e-6)
        cross = torch.linalg.solve(covariance[rest][:, rest], covariance[rest, i].unsqueeze(1))
        variance = covariance[i, i] - covariance[i, rest] @ cross[:, 0]
        assert float(deviations[i]) == pytest.approx(math.sqrt(variance), rel=1e-6)


def test_the_improvement_is_that_of_many_joint_draws(monkeypatch):
    import torch

    from scheduler.generation.botorch import improvement
    from scheduler.generation.botorch.improvement import LogImprovement
    from scheduler.generation.botorch.problem import Limit, Problem

    monkeypatch.setattr(improvement, "DRAWS", 4096)

    gp = process(variances=np.full(14, 0.1))
    problem = Problem(
        (gp.column,),
        ((gp,),),
        torch.ones(1, 1, dtype=torch.double),
        torch.tensor([math.nan]),
        (Limit(0, 1.0, 1.0),),
    )
    pending = torch.tensor([[0.35, 0.5, 0.5]], dtype=torch.double)
    at = torch.tensor([[0.4, 0.9, 0.5], [0.2, 0.1, 0.9]], dtype=torch.double)
    score = LogImprovement(problem, (gp,), pending, 0)
    points = torch.cat([gp.points, pending, at])
    (mean,), (covariance,) = gp.joint(points)
    root = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(len(points)))
    normals = torch.randn(200_000, len(points), dtype=torch.double, generator=_seeded(0))
    values = mean + normals @ root.T
    known, new = values[:, :-2], values[:, -2:]
    free = LogImprovement(dataclasses.replace(problem, limits=()), (gp,), pending, 0)
    gain = (new - known.amax(1, keepdim=True)).clamp_min(0.0).mean(0)
    torch.testing.assert_close(free(at).exp(), gain, rtol=0.05, atol=5e-4)
    feasible, better = score.probabilities(at)
    torch.testing.assert_close(feasible, (new <= 1.0).double().mean(0), rtol=0.05, atol=0.02)
    assert ((better >= 0) & (better <= feasible + 1e-9)).all()


def test_where_arms_fail_none_are_proposed_and_a_chance_failure_changes_little():
    import torch

    from scheduler.generation.botorch.feasibility import log_success
    from scheduler.generation.botorch.gp import Fits

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
    assert float(everywhere[~unlucky].min()) > 0.5
    assert float(everywhere[~unlucky].median()) > 0.95
    assert float(everywhere.min()) > 0.3
    assert log_success(Fits(SPACE), points, points[:0]) is None


def _density(u):
    return (-0.5 * u.square()).exp() / math.sqrt(2 * math.pi)


def _seeded(seed):
    import torch

    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("objectives", [2, 3])
def test_the_gain_of_hypervolume_is_that_of_many_draws(objectives):
    import torch
    from botorch.utils.multi_objective.hypervolume import Hypervolume
    from botorch.utils.multi_objective.pareto import is_non_dominated

    from scheduler.generation.botorch.gp import Fits
    from scheduler.generation.botorch.hypervolume import LogHypervolumeImprovement
    from scheduler.generation.botorch.problem import Problem

    rng = np.random.default_rng(5)
    columns = [
        dataclasses.replace(column(variances=np.full(14, 1e-6)), values=rng.standard_normal(14))
        for _ in range(objectives)
    ]
    gps = tuple(Fits(SPACE).model(each) for each in columns)
    corner = torch.full((objectives,), -1.0, dtype=torch.double)
    problem = Problem(
        tuple(columns), (gps,), torch.eye(objectives, dtype=torch.double), corner, ()
    )
    at = torch.as_tensor(SPACE.snap(rng.random((3, 3))))
    score = LogHypervolumeImprovement(problem, gps, at[:0], 0)
    volume = Hypervolume(corner)
    known = torch.stack([gp.values for gp in gps], dim=-1)
    front = known[is_non_dominated(known) & (known > corner).all(-1)]
    before = volume.compute(front)
    for k in range(3):
        parts = [gp.posterior(at[k : k + 1]) for gp in gps]
        mean = torch.stack([m[0, 0] for m, _ in parts])
        deviation = torch.stack([s[0, 0] for _, s in parts])
        normals = torch.randn(3000, objectives, dtype=torch.double, generator=_seeded(k))
        gains = []
        for outcome in mean + deviation * normals:
            both = torch.cat([front, outcome[None]])
            both = both[is_non_dominated(both) & (both > corner).all(-1)]
            gains.append(volume.compute(both) - before)
        error = 4.0 * float(np.std(gains)) / math.sqrt(len(gains)) + 1e-4
        assert float(score(at[k : k + 1]).exp()) == pytest.approx(np.mean(gains), abs=error)
