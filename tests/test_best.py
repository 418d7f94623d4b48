"""Which arm is best: by a model where there is noise, by what was observed where there is none."""

import random
import re

import pytest
from cli_bench import json_of, on_both, schedd
from insight_bench import finished
from places import urls

from scheduler.config.load import load_text
from scheduler.insight.choice import (
    Candidate,
    as_observed,
    as_predicted,
    candidates_of,
    choose,
    dominated,
    without_noise,
)
from scheduler.model.belief import least_infeasible, p_feasible
from scheduler.model.experiment import Changes
from scheduler.model.hypervolume import hypervolume, inferred_reference
from scheduler.model.observation import Observation, Outcome
from scheduler.model.trial import Arm, Trial, TrialStatus
from scheduler.storage.store import Store

# gpytorch's import, at this version of torch.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
__all__ = ["finished", "json_of", "on_both", "schedd", "urls"]

DEFINITION = """
schema: schedd/v1
name: e
parameters: [{name: x, type: range, bounds: [0.0, 10.0]}]
OBJECTIVE
runner: {command: ["true"]}
"""
ONE = 'objective: "-loss"'
CONSTRAINED = f'{ONE}\noutcome_constraints: ["size <= 30", "size >= 10"]'
RELATIVE = (
    f'{ONE}\noutcome_constraints: ["size <= 2 * baseline"]\nstatus_quo: {{parameters: {{x: 1.0}}}}'
)
TWO = "objectives: [{metric: loss, minimize: true, threshold: 9}, {metric: acc, minimize: false}]"

XS = [float(x) for x in range(11)]


def definition(objective: str):
    return load_text(DEFINITION.replace("OBJECTIVE", objective), "e")


def candidate(index: int, **means: float) -> Candidate:
    arm = Arm(f"{index}_0", {"x": float(index)})
    return Candidate(index, arm, {metric: (mean, None) for metric, mean in means.items()})


def said(**moments: tuple[float, float]) -> dict[str, dict[str, float]]:
    return {metric: {"mean": mean, "sem": sem} for metric, (mean, sem) in moments.items()}


def names(found) -> list[str]:
    return [each.candidate.arm.name for each in found.chosen]


# -- feasibility


def test_the_chance_to_be_feasible_is_that_of_every_constraint():
    d = definition(CONSTRAINED)
    assert p_feasible(d, said(size=(30.0, 1.0)), None) == pytest.approx(0.5)
    assert p_feasible(d, said(size=(20.0, 10.0)), None) == pytest.approx(0.682689, abs=1e-6)
    assert p_feasible(d, said(size=(30.0, 0.0)), None) == 1.0
    assert p_feasible(d, said(size=(30.1, 0.0)), None) == 0.0
    assert p_feasible(d, said(loss=(1.0, 1.0)), None) is None
    assert p_feasible(definition(ONE), said(loss=(1.0, 1.0)), None) is None
    assert p_feasible(definition(RELATIVE), said(size=(20.0, 1.0)), None) is None
    assert p_feasible(definition(RELATIVE), said(size=(20.0, 1.0)), {"size": 10.0}) == 0.5


def test_the_least_infeasible_arm_misses_by_the_fewest_standard_deviations():
    d = definition(CONSTRAINED)
    sizes = [50.0, 7.0, 34.0, 5.0]
    outcomes = [Outcome(i, f"{i}_0", {"loss": 1.0, "size": s}) for i, s in enumerate(sizes)]
    assert least_infeasible(d, outcomes, None).trial_index == 1
    assert least_infeasible(d, outcomes[2:], None).trial_index == 2
    assert least_infeasible(d, [], None) is None
    assert least_infeasible(definition(RELATIVE), outcomes, None) is None
    nothing = Outcome(9, "9_0", {"loss": 1.0})
    assert least_infeasible(d, [nothing, *outcomes], None).trial_index == 1


# -- the best arm


def test_a_lucky_measurement_does_not_win():
    d, seen = definition(ONE), [candidate(0, loss=0.1), candidate(1, loss=0.2)]
    predictions = [said(loss=(0.5, 0.1)), said(loss=(0.3, 0.1))]
    assert names(choose(d, as_observed(seen), None)) == ["0_0"]
    believed = as_predicted(d, seen, predictions, frozenset(), None)
    assert names(choose(d, believed, None)) == ["1_0"]
    exact = as_predicted(d, seen, predictions, frozenset({"loss"}), None)
    assert names(choose(d, exact, None)) == ["0_0"]
    assert exact[0].moments == said(loss=(0.1, 0.0))


def test_feasible_is_what_the_model_believes_to_be():
    d = definition(CONSTRAINED)
    seen = [candidate(0, loss=0.1, size=29.0), candidate(1, loss=0.2, size=31.0)]
    predictions = [said(loss=(0.1, 0.1), size=(32.0, 1)), said(loss=(0.2, 0.1), size=(29.0, 1))]
    found = choose(d, as_predicted(d, seen, predictions, frozenset(), None), None)
    assert (names(found), found.infeasible) == (["1_0"], 1)
    assert found.chosen[0].p_feasible == pytest.approx(0.8413, abs=1e-4)
    raw = as_predicted(d, seen, predictions, frozenset({"size"}), None)
    assert names(choose(d, raw, None)) == ["0_0"]


def test_where_nothing_is_feasible_nothing_is_chosen():
    d = definition(CONSTRAINED)
    found = choose(
        d, as_observed([candidate(0, loss=1, size=99), candidate(1, loss=2, size=40)]), None
    )
    assert (found.chosen, found.infeasible) == ((), 2)
    assert found.least_infeasible.candidate.trial_index == 1


def test_next_to_no_noise_is_judged_by_the_spread_of_the_values():
    seen = [candidate(i, loss=float(i), size=1e9 * i) for i in range(5)]
    assert without_noise(seen, {"loss": 0.01, "size": 1e8}) == {"loss"}
    assert without_noise(seen, {"loss": 0.1, "size": 0.0}) == {"size"}
    given = [Candidate(i, Arm("a", {}), {"loss": (float(i), 0.0)}) for i in range(3)]
    assert without_noise(given, {"loss": 5.0}) == {"loss"}


def test_an_arm_of_several_trials_is_one_candidate_with_its_values_of_all():
    again = Arm("status_quo", {"x": 1.0})
    trials = [Trial(0, (again,)), Trial(1, (Arm("1_0", {"x": 2.0}), again))]
    measured = (({"x": 1.0}, {"loss": (0.5, 0.1)}), ({"x": 2.0}, {"loss": (0.4, None)}))
    found = candidates_of(trials, measured)
    assert [(c.trial_index, c.arm.name) for c in found] == [(0, "status_quo"), (1, "1_0")]
    assert found[0].observed == {"loss": (0.5, 0.1)}


# -- the front


def test_the_front_and_its_hypervolume_are_those_of_the_believed_means():
    d = definition(TWO)
    seen = [
        candidate(i, loss=loss, acc=acc)
        for i, (loss, acc) in enumerate([(1, 1), (3, 4), (4, 3), (10, 9)])
    ]
    found = choose(d, as_observed(seen), None)
    assert names(found) == ["0_0", "1_0"]
    assert found.infeasible == 1  # it does not reach the threshold
    volume = dominated(d, found.chosen)
    assert volume.inferred == ("acc",)
    assert volume.reference == pytest.approx({"loss": 9.0, "acc": 0.7})
    assert volume.volume == pytest.approx(8 * 0.3 + 6 * 3.0)
    predictions = [said(loss=(4, 1), acc=(1, 1)), said(loss=(3, 1), acc=(2, 1))]
    believed = as_predicted(d, seen[:2], predictions, frozenset(), None)
    assert names(choose(d, believed, None)) == ["1_0"]
    assert dominated(d, ()) is None


def test_a_hypervolume_is_the_share_of_random_points_below_the_front():
    rng = random.Random(0)
    for dimension in (1, 2, 3, 4):
        points = [[rng.random() for _ in range(dimension)] for _ in range(8)]
        draws = [[rng.random() for _ in range(dimension)] for _ in range(20_000)]
        below = sum(
            any(all(x >= u for x, u in zip(p, draw, strict=True)) for p in points)
            for draw in draws
        )
        assert hypervolume(points, [0.0] * dimension) == pytest.approx(below / 20_000, abs=0.015)


def test_a_hypervolume_counts_nothing_twice_and_nothing_beyond_the_reference():
    boxes = [[2.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 1.0], [2.0, 1.0, 1.0], [9.0, 9.0, -1.0]]
    assert hypervolume(boxes, [0.0, 0.0, 0.0]) == 3.0
    assert hypervolume([], [0.0, 0.0]) == 0.0


def test_a_reference_is_inferred_a_tenth_of_the_range_below_the_front():
    assert inferred_reference([[0.0, 5.0], [10.0, 1.0]], [None, None]) == pytest.approx(
        [-1.0, 0.6]
    )
    assert inferred_reference([[4.0, 0.0]], [None, None]) == pytest.approx([3.6, -0.1])
    assert inferred_reference([[4.0, 0.0]], [1.0, None])[0] == 1.0


# -- the verbs, on arms that were measured as a test says


@pytest.fixture
def measured(tmp_path, schedd, urls):
    """Return a function that stores (x, metrics) as completed trials and calls a verb on them."""

    def call(objective: str, arms: list[tuple[float, dict[str, float]]], *words: str) -> str:
        url = urls("made")
        store = Store.open(url, create=True)
        store.create(definition(objective), tmp_path, 0.0)
        experiment = store.find("e")
        lease, state = store.acquire(experiment, 0.0), store.peek(experiment)
        first = state.tally.created
        trials = tuple(
            Trial(i, (Arm(f"{i}_0", {"x": x}),), TrialStatus.COMPLETED, completed_at=1.0)
            for i, (x, _) in enumerate(arms, first)
        )
        seen = tuple(
            Observation(i, 1, f"{i}_0", metric, mean)
            for i, (_, metrics) in enumerate(arms, first)
            for metric, mean in metrics.items()
        )
        store.commit(lease, state, Changes(time=1.0, trials=trials, observations=seen), "")
        lease.release()
        store.close()
        status, out, err = schedd(*words, "--storage", url)
        assert (status, err) == (0, "")
        return out

    return call


def noisy(i: int) -> float:
    return random.Random(i).gauss(0.0, 1.0)


def test_a_front_by_the_model_with_its_hypervolume(measured):
    arms = [
        (x, {"loss": x + noisy(i) / 2, "acc": x * x / 9 + noisy(i + 50)}) for i, x in enumerate(XS)
    ]
    out = measured(TWO, arms, "pareto")
    assert "arms on the Pareto front of loss (down), acc (up), by the model\n" in out
    assert re.search(r"hypervolume \S+ from loss = 9, acc = \S+, inferred for acc: no thre", out)
    assert "arms break an outcome constraint or a threshold" in out  # x = 10


def test_where_no_arm_is_feasible_the_least_infeasible_one_is_called_so(measured):
    arms = [(x, {"loss": x + noisy(i), "size": 40.0 + 3 * x}) for i, x in enumerate(XS)]
    out = measured(CONSTRAINED, arms, "best")
    assert out.startswith(
        "no arm is feasible by the model: none satisfies size <= 30 and size >= 10\n"
        "the least infeasible arm, which is not feasible:\n0_0 (trial 0): x = 0.0\n"
    )
    assert "best arm" not in out


def test_a_baseline_that_is_not_measured_yet_is_said(measured):
    arms = [(x, {"loss": x + noisy(i), "size": 3 * x}) for i, x in enumerate(XS)]
    out = measured(RELATIVE, arms, "best", "--observed")
    assert "the baseline of a relative constraint has not been measured yet" in out


def test_without_noise_what_was_observed_is_best(measured):
    out = measured(ONE, [(x, {"loss": (x - 3.2) ** 2}) for x in XS], "best")
    why = "the measurements have next to no noise"
    assert out.startswith(f"best arm by what was observed: {why}\n3_0 (trial 3): x = 3.0\n")


def test_where_there_is_no_model_the_reason_is_said(measured):
    out = measured(ONE, [(x, {"loss": 1.0}) for x in XS], "best")
    assert "by what was observed: there is no model: all observations of loss are equal" in out
    assert "0_0 (trial 0)" in out


# -- on a small experiment that really ran


def test_the_best_arm_is_that_of_the_posterior_means(json_of, schedd, on_both):
    found = json_of("best")
    best, raw = found["best"], found["best_observed"]
    assert (found["by"], found["least_infeasible"]) == ("model", None)
    assert best["believed"]["loss"]["sem"] > 0
    assert best["believed"]["size"] == {"mean": best["metrics"]["size"]["mean"], "sem": 0.0}
    assert best["p_feasible"] == 1.0
    assert raw["metrics"]["loss"]["mean"] <= best["metrics"]["loss"]["mean"]
    _, out, _ = schedd("best")
    assert out.startswith("best arm by the model\n")
    assert "observed" in out


def test_observed_says_so(schedd, json_of, on_both):
    _, out, _ = schedd("best", "--observed")
    assert out.startswith("best arm by what was observed\n")
    found = json_of("best", "--observed")
    assert found["best"] == found["best_observed"]


def test_a_front_of_one_objective_is_refused_with_the_verb_to_use(schedd, on_both):
    status, _, err = schedd("pareto")
    assert status == 2
    assert "has one objective; see schedd best learned" in err
