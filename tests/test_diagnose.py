"""How far predictions can be trusted: statistics on made-up outcomes, the verb on a real one."""

import random
from statistics import NormalDist

import pytest
from cli_bench import json_of, on_both, schedd
from insight_bench import finished
from places import urls

from scheduler.cli.diagnose import _foretold
from scheduler.config.load import load_text
from scheduler.insight.calibration import (
    Foretold,
    calibration,
    predicts,
    rank_correlation,
    verdict,
)
from scheduler.insight.health import hints
from scheduler.insight.proposals import Proposed
from scheduler.model.observation import Observation
from scheduler.model.trial import Arm, Trial, TrialStatus

# gpytorch's import, at this version of torch.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
__all__ = ["finished", "json_of", "on_both", "schedd", "urls"]


def outcomes(n: int, *, spread: float = 1.0, bias: float = 0.0, seed: int = 0) -> list[Foretold]:
    """Return outcomes whose standardized errors are normal, of this mean and deviation."""
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        mean, sd = rng.uniform(-5, 5), rng.uniform(0.1, 0.5)
        found.append(Foretold(mean + sd * rng.gauss(bias, spread), mean, sd))
    return found


# -- calibration


def test_the_figures_are_those_of_the_definition():
    quantiles = [NormalDist().inv_cdf((i + 0.5) / 100) for i in range(100)]
    found = calibration([Foretold(10 + 2 * z, 10.0, 2.0) for z in quantiles])
    assert found.coverage == {50: 0.5, 80: 0.8, 95: 0.95}
    assert found.bias == pytest.approx(0, abs=1e-12)
    assert found.spread == pytest.approx(1.0, abs=0.02)
    assert found.rank_correlation is None  # one prediction for all
    assert found.r_squared == pytest.approx(0.0, abs=1e-12)
    assert not predicts(found)


def test_half_of_the_variance_may_be_predicted():
    pairs = [(0.0, 0.0), (1.0, 0.5), (2.0, 3.0), (3.0, 2.0)]
    found = calibration([Foretold(observed, mean, 1.0) for observed, mean in pairs])
    assert found.r_squared == pytest.approx(1 - 2.25 / 5)
    assert found.rank_correlation == pytest.approx(0.8)


def test_ranks_share_ties():
    assert rank_correlation([1, 2, 2, 3], [10, 20, 20, 30]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == -1.0
    assert rank_correlation([1, 1], [1, 2]) is None


@pytest.mark.parametrize("n", [8, 30, 300, 3000])
@pytest.mark.parametrize("seed", range(5))
def test_a_right_model_is_called_well_calibrated(n, seed):
    assert verdict(calibration(outcomes(n, seed=seed))) == "well calibrated"


@pytest.mark.parametrize(
    ("n", "spread", "bias", "words"),
    [
        (30, 2.0, 0.0, "overconfident: 95 % intervals hold "),
        (300, 1.4, 0.0, "overconfident: 95 % intervals hold "),
        (30, 0.3, 0.0, "underconfident: 50 % intervals hold "),
        (300, 0.7, 0.0, "underconfident: 50 % intervals hold "),
        (300, 1.0, 0.3, "biased: outcomes lie 0.3 sd above predictions on average"),
        (300, 1.0, -0.3, "biased: outcomes lie 0.3 sd below predictions on average"),
        (7, 9.0, 0.0, "too few: 7 outcomes, 8 are needed"),
    ],
)
def test_a_wrong_model_is_called_by_its_fault(n, spread, bias, words):
    assert verdict(calibration(outcomes(n, spread=spread, bias=bias))).startswith(words)


def test_one_outcome_far_off_among_few_is_overconfidence():
    wild = [*outcomes(7), Foretold(9.0, 1.0, 1.0)]
    assert verdict(calibration(wild)).startswith("overconfident")


def test_nothing_foretold_is_nothing_to_judge():
    assert calibration([]) is None
    assert verdict(None) == "too few: 0 outcomes, 8 are needed"


def test_no_doubt_and_enormous_values_break_nothing():
    sure = calibration([Foretold(1.0, 1.0, 0.0), Foretold(2.0, 1.0, 0.0)])
    assert sure.spread == pytest.approx(1e6 / 2**0.5)
    huge = calibration([Foretold(1e300 * i, 1e300, 1e290) for i in range(9)])
    assert huge.r_squared is not None
    assert huge.r_squared < 0.1


# -- what was predicted and then observed


def arm(index: int, loss: float | None, *, sem: float | None = None, x: float = 5.0, **fields):
    predicted = {"loss": {"mean": 1.0, "sem": 3.0}} if fields.pop("said", True) else {}
    seen = {} if loss is None else {"loss": Observation(index, 1, "a", "loss", loss, sem)}
    status = fields.pop("status", TrialStatus.COMPLETED)
    trial = Trial(index, (), status, reason=fields.pop("reason", None))
    metrics = {**seen, **{m: Observation(index, 1, "a", m, v) for m, v in fields.items()}}
    return Proposed(
        trial, Arm(f"{index}_0", {"x": x, "lr": 0.01, "n": 2}), None, predicted, {}, metrics
    )


def test_the_noise_of_an_observation_is_part_of_the_doubt():
    arms = [arm(0, 2.0), arm(1, 2.0, sem=0.0), arm(2, None), arm(3, 1.0, said=False)]
    assert _foretold(arms, {"loss": 4.0}) == {
        "loss": [Foretold(2.0, 1.0, 5.0), Foretold(2.0, 1.0, 3.0)]
    }


# -- hints

DEFINITION = load_text(
    """
schema: schedd/v1
name: e
parameters:
  - {name: x, type: range, bounds: [0.0, 10.0]}
  - {name: lr, type: range, bounds: [1.0e-4, 1.0], scaling: log}
  - {name: n, type: range, parameter_type: int, bounds: [1, 2]}
objective: "-loss"
outcome_constraints: ["size <= 30"]
runner: {command: ["true"]}
""",
    "e",
)


def test_nothing_is_said_of_a_healthy_experiment():
    arms = [arm(i, float(i), size=10.0 + i, x=float(i)) for i in range(10)]
    assert hints(DEFINITION, arms, None) == []


def test_parameters_at_a_bound_in_the_best_arms_are_named():
    at = {0: 0.0, 1: 0.05, 2: 0.09}
    arms = [arm(i, float(i), size=10.0 + i, x=at.get(i, 5.0)) for i in range(10)]
    (hint,) = hints(DEFINITION, arms, None)
    assert hint == (
        "x is at its lower bound, 0, in 3 of the 5 best arms: better ones may lie beyond"
    )


def test_failures_constant_metrics_and_broken_constraints_are_named():
    fail = {"status": TrialStatus.FAILED, "reason": "OOM"}
    arms = [arm(i, float(i), size=31.0) for i in range(6)]
    arms += [arm(6, None, **fail), arm(7, None, **fail)]
    assert hints(DEFINITION, arms, None) == [
        "2 of 8 trials failed (OOM 2)",
        "size is 31 in all arms: it tells none from another",
        "6 of 6 arms break size <= 30",
    ]
    assert hints(DEFINITION, arms[:4], None) == []


# -- on a small experiment that really ran


def test_each_metric_is_diagnosed(json_of, schedd, on_both):
    found = json_of("diagnose")
    assert list(found["metrics"]) == ["loss", "size"]
    loss = found["metrics"]["loss"]
    assert loss["noise"] > 0
    assert loss["leave_one_out"]["count"] == 7
    assert loss["predicted_then_observed"]["count"] in (3, 4)
    assert set(loss["leave_one_out"]["coverage"]) == {"50", "80", "95"}
    status, out, _ = schedd("diagnose", "learned")
    assert status == 0
    assert out.startswith("the model of learned\nloss, noise ± ")
    assert "leave-one-out: too few: 7 outcomes, 8 are needed" in out


def test_without_a_model_the_reason_is_said(schedd, urls, tmp_path, finished):
    text = (finished / "e.yaml").read_text().replace("name: learned", "name: none")
    (tmp_path / "none.yaml").write_text(text)
    url = urls("none")
    from scheduler.storage.store import Store

    store = Store.open(url, create=True)
    store.create(load_text(text, "none"), tmp_path, 0.0)
    store.close()
    _, out, _ = schedd("diagnose", "none", "--storage", url)
    assert "there is none: no arm is measured; a model needs 3" in out
    _, out, _ = schedd("best", "none", "--storage", url)
    assert "no trial has completed" in out
