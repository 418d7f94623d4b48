"""Few of many parameters matter: the prior, its gradient, and what it finds in the data."""

import math

import numpy as np
import pytest
from spaces import define, real

from scheduler.generation.space import Space

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

MANY = Space(define([real(f"x{j}") for j in range(20)]))
RELEVANT = [3, 11]


def column(count=40, seed=0):
    from scheduler.generation.botorch.column import Column

    points = np.random.default_rng(seed).random((count, 20))
    values = np.sin(6 * points[:, RELEVANT[0]]) + 2 * points[:, RELEVANT[1]] ** 2
    return Column("loss", points, (values - values.mean()) / values.std(), None, 1.0, 0.0, 1.0)


def test_the_gradient_is_that_of_the_value():
    import torch

    from scheduler.generation.botorch.saas import FEW_MATTER

    logs = torch.tensor([[-1.2, 0.4, 2.0], [3.0, -0.5, 6.0]], dtype=torch.double)
    _, gradient = FEW_MATTER.lengthscales(logs)
    for j in range(3):
        step = torch.zeros_like(logs)
        step[:, j] = 1e-5
        ahead, _ = FEW_MATTER.lengthscales(logs + step)
        behind, _ = FEW_MATTER.lengthscales(logs - step)
        assert gradient[:, j].tolist() == pytest.approx(((ahead - behind) / 2e-5).tolist())


def test_the_density_is_the_papers_with_tau_integrated_out():
    """Of inverse squared lengthscales, half-Cauchy given tau; of lengthscales by Jacobian."""
    import torch
    from scipy.stats import halfcauchy

    from scheduler.generation.botorch.saas import FEW_MATTER

    scales = np.array([[0.2, 5.0, 8.0, 30.0], [0.5, 0.6, 0.9, 1.4], [2.0, 3.0, 3.0, 4.0]])
    taus = np.geomspace(1e-6, 1e3, 4001)[:, None, None]
    given = halfcauchy.pdf(scales**-2.0, scale=taus) * 2.0 * scales**-3.0
    joint = given.prod(-1) * halfcauchy.pdf(taus[..., 0], scale=0.1) * taus[..., 0]
    expected = -np.log(joint.sum(0))
    found, _ = FEW_MATTER.lengthscales(torch.as_tensor(np.log(scales)))
    differences = np.diff(found.numpy())
    assert differences == pytest.approx(np.diff(expected), abs=0.02)


def test_what_matters_is_told_from_what_does_not():
    from scheduler.generation.botorch.fit import STANDARD
    from scheduler.generation.botorch.gp import Fits
    from scheduler.generation.botorch.saas import FEW_MATTER

    sparse, usual = (Fits(MANY).model(column(), belief) for belief in (FEW_MATTER, STANDARD))
    scales = sparse.lengthscales[0, 0]
    assert sorted(scales.argsort()[:2].tolist()) == RELEVANT
    assert float(scales.sort().values[2]) > 5 * float(scales[RELEVANT].max())
    assert _error(sparse) < _error(usual)


def test_explanations_are_drawn_under_the_same_prior():
    from scheduler.generation.botorch.gp import Fits
    from scheduler.generation.botorch.saas import FEW_MATTER

    members = Fits(MANY).model(column(25), FEW_MATTER, broad=True).lengthscales[:, 0]
    assert len(members) > 1
    others = [j for j in range(20) if j not in RELEVANT]
    typical = members[:, others].log().median(dim=1).values.exp()
    assert (members[:, RELEVANT].amin(1) < typical).all()


def _error(model):
    new = column(200, seed=1)
    import torch

    mean, _ = model.posterior(torch.as_tensor(new.points))
    return math.sqrt(float((mean[0] - torch.as_tensor(new.values)).square().mean()))
