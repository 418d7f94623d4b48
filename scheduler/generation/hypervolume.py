"""Log noisy expected hypervolume improvement of several objectives (BoTorch's qLogNEHVI).

Daulton, Balandat, Bakshy (2021), in the logarithmic form of Ament et al. (2023).
"""

from typing import Any

import torch
from botorch.acquisition.multi_objective import logei
from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
from botorch.models import SingleTaskGP
from botorch.models.model_list_gp_regression import ModelListGP
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from gpytorch.kernels import Kernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.means import ConstantMean
from torch import Tensor

from scheduler.generation.acquire import Score
from scheduler.generation.gp import GaussianProcess
from scheduler.generation.problem import Problem

SAMPLES = 128
"""Draws of the posterior that the hypervolume is averaged over."""
SOFTNESS = 1e-3
"""Width, in standard deviations of the metric, of the step at an outcome constraint's bound."""
LEAST_NOISE = 1e-6
"""Least variance of an observation that GPyTorch takes."""

# BoTorch would compile C++ at the first use: minutes, under a lock that a killed process leaves
# behind for all later ones to wait on, and for this CPU's own arithmetic.
logei._load_attempted = True


class FittedKernel(Kernel):  # type: ignore[misc]  # gpytorch is not typed
    """A fitted process' covariance, as GPyTorch asks for it."""

    def __init__(self, gp: GaussianProcess) -> None:
        super().__init__()
        self._gp = gp

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: object) -> Tensor:
        """Return the covariance of points, shapes (..., n, d) and (..., m, d)."""
        if diag:
            return self._gp.outputscale.expand(x1.shape[:-1])
        return self._gp.covariance(self._gp.scaled(x1), self._gp.scaled(x2))


def as_botorch(gp: GaussianProcess) -> SingleTaskGP:
    """Return the same model as BoTorch's, for acquisition functions of BoTorch."""
    noise = gp.noise.clamp_min(LEAST_NOISE)
    mean = ConstantMean()
    mean.constant.data = gp.mean.clone()
    model = SingleTaskGP(
        gp.points,
        gp.values[:, None],
        noise[:, None],
        likelihood=FixedNoiseGaussianLikelihood(noise),
        covar_module=FittedKernel(gp),
        mean_module=mean,
        outcome_transform=None,
    )
    return model.double().eval()


def log_hypervolume_improvement(problem: Problem, pending: Tensor, seed: int) -> Score:
    """Return the acquisition function, with ``pending`` (p, d) about to be measured."""

    def wanted(outcomes: Tensor, X: Tensor | None = None) -> Tensor:  # noqa: ARG001, N803
        return problem.wanted(outcomes)  # BoTorch calls it with the points, by this name

    score = logei.qLogNoisyExpectedHypervolumeImprovement(
        model=ModelListGP(*map(as_botorch, problem.models)),
        ref_point=reference(problem),
        X_baseline=problem.observed,
        sampler=SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=seed),
        objective=GenericMCMultiOutputObjective(wanted),
        constraints=[limit.excess for limit in problem.limits] or None,
        eta=SOFTNESS,
        X_pending=pending if len(pending) else None,
        prune_baseline=True,
    )
    return lambda points: score(points[:, None])


def reference(problem: Problem) -> Tensor:
    """Return the point that hypervolume is measured from, shape (objectives,).

    The thresholds, where there are any; inferred from the front for the other objectives.
    """
    if not torch.isnan(problem.thresholds).any():
        return problem.thresholds
    mean, _ = problem.moments(problem.observed)
    values, feasible = problem.wanted(mean), problem.feasible(mean)
    values = values[feasible] if feasible.any() else values
    front = values[is_non_dominated(values)]
    inferred: Tensor = infer_reference_point(front, max_ref_point=problem.thresholds)
    return inferred


def front(problem: Problem) -> Tensor:
    """Return the indices of the observed points that are on the front by the models."""
    mean, _ = problem.moments(problem.observed)
    values: Any = problem.wanted(mean)
    feasible = problem.feasible(mean)
    kept = torch.arange(len(values))[feasible if feasible.any() else slice(None)]
    return kept[is_non_dominated(values[kept])]
