"""Why a trial was proposed: from stored numbers to a few lines."""

import pytest
from cli_bench import json_of, on_both, schedd
from insight_bench import finished

from scheduler.config.load import load_text
from scheduler.generation.space import Space
from scheduler.insight.explain import explained
from scheduler.insight.nearest import nearest
from scheduler.insight.proposals import proposed
from scheduler.model.observation import GeneratorRun, Observation
from scheduler.model.trial import Arm, Trial, TrialStatus
from scheduler.storage.read import TrialRecord

__all__ = ["finished", "json_of", "on_both", "schedd"]

DEFINITION = """
schema: schedd/v1
name: e
parameters:
  - {name: x, type: range, bounds: [0.0, 10.0]}
  - {name: lr, type: range, bounds: [1.0e-4, 1.0], scaling: log}
  - {name: kind, type: choice, values: [a, b, c]}
objective: "-loss"
outcome_constraints: ["size <= 30"]
runner: {command: ["true"]}
"""


def definition(**replaced: str):
    text = DEFINITION
    for old, new in replaced.items():
        text = text.replace(*{"objective": ('objective: "-loss"', new)}[old])
    return load_text(text, "e")


def record(
    index: int,
    *,
    status: TrialStatus = TrialStatus.COMPLETED,
    ended: float | None = None,
    run: int | None = None,
    arms: tuple[Arm, ...] | None = None,
    **metrics: float | tuple[float, float],
) -> TrialRecord:
    """Return a trial of one arm, or of several that were all measured alike."""
    given = {"x": 1.0 + index, "lr": 0.01, "kind": "a"}
    arms = arms or (Arm(f"{index}_0", given),)
    trial = Trial(index, arms, status, generator_run=run, node=1, completed_at=ended)
    pairs = {m: v if isinstance(v, tuple) else (v, None) for m, v in metrics.items()}
    seen = {
        arm.name: {m: Observation(index, 1, arm.name, m, *pair) for m, pair in pairs.items()}
        for arm in arms
    }
    return TrialRecord(trial, seen if metrics else {})


SAID = {"loss": {"mean": 2.0, "sem": 0.5}, "size": {"mean": 30.0, "sem": 1.0}}


def run_of(predictions=(SAID,), **fields) -> GeneratorRun:
    times = {"seconds": 10.0, "created_at": 100.0}
    return GeneratorRun(0, 1, "botorch", 0, predictions=predictions, **times, **fields)


def only(records: list[TrialRecord], *runs: GeneratorRun, of=None):
    arms = list(proposed(records, {run.index: run for run in runs}))
    (found,) = explained(of or definition(), arms, records[-1].trial.index)
    return found


KNOWN = [record(i, ended=float(i), loss=loss, size=10.0) for i, loss in enumerate((5, 1.5, 4))]


def test_what_was_known_is_what_had_ended_when_the_generator_was_asked():
    late = record(3, ended=95.0, loss=0.1, size=10.0)
    running = record(4, status=TrialStatus.RUNNING)
    failed = record(5, status=TrialStatus.FAILED, ended=20.0)
    new = record(6, run=0, status=TrialStatus.RUNNING)
    found = only([*KNOWN, late, running, failed, new], run_of())
    assert (found.observations, found.pending) == (3, 2)
    assert found.exploration.incumbent == 1.5


def test_an_arm_of_several_trials_is_known_once_and_those_of_elsewhere_count():
    again = [record(i, ended=float(i), loss=1.0, arms=KNOWN[0].trial.arms) for i in (3, 4)]
    arms = list(proposed([*KNOWN, *again, record(5, run=0)], {0: run_of()}))
    (found,) = explained(definition(), arms, 5, transferred=20)
    assert found.observations == 23


def test_trials_of_the_same_generator_run_are_not_pending_for_each_other():
    several = run_of(predictions=())
    found = only([*KNOWN, record(3, run=0), record(4, run=0)], several)
    assert (found.observations, found.pending) == (3, 0)
    assert found.neighbour.trial.index == 3


def test_the_chance_to_improve_follows_from_the_prediction_where_it_is_not_stored():
    found = only([*KNOWN, record(3, run=0, loss=2.6)], run_of())
    way = found.exploration
    assert way.p_improve == pytest.approx(0.158655, abs=1e-6)  # one sd above the best so far
    assert way.motive == "exploring"
    assert way.doubt == pytest.approx(0.5 / 1.8027756)
    assert found.p_feasible == pytest.approx(0.5)
    assert found.expected["loss"].off == pytest.approx(1.2)
    assert found.expected["size"].observed is None
    assert found.origin == "model"


def test_the_standard_error_of_an_observation_counts_as_doubt():
    found = only([*KNOWN, record(3, run=0, loss=(3.3, 1.2))], run_of())
    assert found.expected["loss"].off == pytest.approx(1.0)


def test_what_the_model_said_itself_comes_first():
    said = {"p_improve": 0.7, "incumbent": 1.6, "p_feasible": 0.9}
    found = only([*KNOWN, record(3, run=0)], run_of(insights=(said,)))
    way = found.exploration
    assert (way.p_improve, way.incumbent, way.motive) == (0.7, 1.6, "exploiting")
    assert found.p_feasible == 0.9


def test_little_doubt_and_little_hope_is_fine_tuning():
    sure = ({"loss": {"mean": 1.51, "sem": 0.01}},)
    assert only([*KNOWN, record(3, run=0)], run_of(predictions=sure)).exploration.motive == (
        "fine-tuning"
    )


def test_maximizing_turns_the_chance_round():
    of = definition(objective="objective: loss")
    found = only([*KNOWN, record(3, run=0)], run_of(), of=of)
    assert found.exploration.incumbent == 5
    assert found.exploration.p_improve < 1e-8


def test_a_scalarized_objective_is_predicted_as_the_sum_of_its_metrics():
    of = definition(objective='objective: "-loss - 2 * size"')
    of = of.model_copy(update={"outcome_constraints": ()})
    way = only([*KNOWN, record(3, run=0)], run_of(), of=of).exploration
    assert way.mean == 62.0
    assert way.incumbent == 21.5
    assert way.doubt == pytest.approx((0.25 + 4.0) ** 0.5 / 1.8027756)


def test_arms_of_a_batch_have_their_own_predictions_and_the_status_quo_has_none():
    x = {"lr": 0.01, "kind": "a"}
    arms = (
        Arm("3_0", {"x": 1.0, **x}),
        Arm("3_1", {"x": 2.0, **x}),
        Arm("status_quo", {**x, "x": 3.0}),
    )
    said = tuple({"loss": {"mean": m, "sem": 1.0}} for m in (7.0, 8.0))
    batch = record(3, run=0, arms=arms, loss=1.0)
    found = explained(
        definition(), list(proposed([*KNOWN, batch], {0: run_of(predictions=said)})), 3
    )
    assert [e.origin for e in found] == ["model", "model", "status quo"]
    assert [e.expected["loss"].mean for e in found[:2]] == [7.0, 8.0]


def test_the_nearest_arm_is_measured_in_the_unit_cube():
    space = Space(definition())
    arm = {"x": 5.0, "lr": 0.01, "kind": "a"}
    others = [
        {"x": 5.0, "lr": 0.01, "kind": "b"},
        {"x": 9.0, "lr": 0.1, "kind": "a"},
        {"x": 5.0, "lr": 1.0, "kind": "a"},
    ]
    near = nearest(space, arm, others)
    assert near.index == 1
    assert near.differences == pytest.approx({"x": 0.4, "lr": 0.25})
    assert list(near.differences) == ["x", "lr"]
    assert near.distance == pytest.approx((0.16 + 0.0625) ** 0.5)
    assert nearest(space, arm, others[:1]).differences == {"kind": 1.0}
    assert nearest(space, arm, [arm, arm]).index == 1
    assert nearest(space, arm, []) is None


def test_a_parameter_that_one_arm_does_not_have_is_as_far_as_can_be():
    space = Space(
        load_text(
            """
schema: schedd/v1
name: e
parameters:
  - {name: kind, type: choice, values: [sgd, adam], dependent_parameters: {sgd: [momentum]}}
  - {name: momentum, type: range, bounds: [0.0, 1.0]}
objective: "-loss"
runner: {command: ["true"]}
""",
            "e",
        )
    )
    near = nearest(space, {"kind": "adam"}, [{"kind": "sgd", "momentum": 0.5}])
    assert near.differences == {"kind": 1.0, "momentum": 1.0}


# -- on a small experiment that really ran


def test_a_trial_of_a_model_is_explained_in_a_few_lines(schedd, json_of, on_both):
    status, out, _ = schedd("explain", "7")
    assert status == 0
    assert "by botorch (node 1 of the generation strategy), which knew " in out
    assert "loss: predicted " in out
    assert "chance to beat the best so far, loss = " in out
    assert "chance to be feasible" in out
    assert "nearest earlier arm " in out
    assert len(out.splitlines()) <= 9
    (arm,) = json_of("explain", "7", "-e", "learned")["arms"]
    assert arm["generator"] == "botorch"
    assert 4 <= arm["observations"] <= 6
    assert arm["expected"]["loss"]["observed"] == arm["metrics"]["loss"]["mean"]
    assert 0 <= arm["p_improve"] <= 1
    assert arm["nearest"]["trial_index"] < 7


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        ("0", ["status quo", "no trial came before it"]),
        (
            "1",
            ["by sobol (node 0 of the generation strategy): arms that fill the space", "trial 0"],
        ),
        ("2", ["FAILED, EXIT_CODE"]),
    ],
)
def test_other_trials_are_explained_honestly(trial, words, schedd, on_both):
    status, out, _ = schedd("explain", trial)
    assert status == 0
    assert all(word in out for word in words), out
    assert "predicted" not in out


def test_explaining_imports_no_torch(finished):
    from test_cli import imported

    assert not imported(finished, "explain", "7") & {"torch", "scipy", "rich", "apscheduler"}
