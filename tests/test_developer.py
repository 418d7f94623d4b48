"""The developer door: an experiment whose trials a program makes and moves by hand."""

import math

import pytest
from places import either, urls

from scheduler import (
    Arm,
    ChoiceParameter,
    Client,
    ComparisonOp,
    Data,
    Experiment,
    FixedParameter,
    GenerationNode,
    GenerationStep,
    GenerationStrategy,
    GeneratorRun,
    Generators,
    Metric,
    ModelError,
    Models,
    MultiObjective,
    Objective,
    ObjectiveThreshold,
    ObjectNotFoundError,
    Ok,
    OptimizationConfig,
    OrderConstraint,
    OutcomeConstraint,
    ParameterConstraint,
    ParameterType,
    RangeParameter,
    RangeParameterConfig,
    SearchSpace,
    SumConstraint,
    TrialStatus,
    UnsupportedError,
    UserInputError,
)
from scheduler.config.load import load_text
from scheduler.model.relative import relativized
from scheduler.model.trial import TRANSITIONS

__all__ = ["either", "urls"]

X1, X2 = RangeParameter("x1", lower=0.0, upper=10.0), RangeParameter("x2", lower=0.0, upper=5.0)
SPACE = SearchSpace([X1, X2])
LOSS = OptimizationConfig(Objective("loss", minimize=True))
HERE = {"x1": 1.0, "x2": 2.0}
MOVES = {
    TrialStatus.STAGED: "mark_staged",
    TrialStatus.RUNNING: "mark_running",
    TrialStatus.COMPLETED: "mark_completed",
    TrialStatus.FAILED: "mark_failed",
    TrialStatus.ABANDONED: "mark_abandoned",
    TrialStatus.EARLY_STOPPED: "mark_early_stopped",
}


@pytest.fixture
def experiment(either):
    """A function that makes experiments of one store, which are closed in the end."""
    made = []

    def make(name: str = "dev", config=LOSS, **options) -> Experiment:
        made.append(Experiment(SPACE, name, config, storage=either, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


# -- definitions


def test_the_classes_are_the_definition_that_a_file_holds(experiment):
    space = SearchSpace(
        [
            RangeParameter("lr", ParameterType.FLOAT, 1e-4, 1e-1, log_scale=True),
            RangeParameterConfig(name="layers", bounds=(1, 8), parameter_type="int"),
            X1,
            X2,
            ChoiceParameter("kind", ParameterType.STRING, ["a", "b"]),
            FixedParameter("seed", ParameterType.INT, 3),
        ],
        parameter_constraints=[
            OrderConstraint(X1, "x2"),
            SumConstraint([X1, X2], is_upper_bound=False, bound=2),
            ParameterConstraint({"x1": 1.0, "x2": 2.0}, 12),
            ParameterConstraint(inequality="x1 + x2 <= 9"),
        ],
    )
    accuracy, qps = Metric("accuracy", lower_is_better=False), Metric("qps")
    config = OptimizationConfig(
        MultiObjective([Objective("loss", minimize=True), Objective(accuracy)]),
        [
            OutcomeConstraint(qps, op=ComparisonOp.GEQ, bound=-5.0, relative=True),
            OutcomeConstraint("size", ComparisonOp.LEQ, 10, relative=False),
        ],
        [ObjectiveThreshold("loss", 3.0)],
    )
    arm = {"lr": 0.01, "layers": 2, "x1": 1, "x2": 3, "kind": "a"}
    strategy = GenerationStrategy(
        "named", [GenerationStep(Models.SOBOL, 3), GenerationNode(generator="botorch")]
    )
    made = Experiment(
        space,
        "All_of_it",
        config,
        [Metric("seconds")],
        {"type": "local", "command": ["true"]},
        Arm(arm),
        generation_strategy=strategy,
        options={"trials": {"total_trials": 9}},
    )
    file = """
schema: schedd/v1
name: all-of-it
parameters:
  - {name: lr, type: range, bounds: [1.0e-4, 1.0e-1], scaling: log}
  - {name: layers, type: range, bounds: [1, 8], parameter_type: int}
  - {name: x1, type: range, bounds: [0.0, 10.0]}
  - {name: x2, type: range, bounds: [0.0, 5.0]}
  - {name: kind, type: choice, values: [a, b]}
  - {name: seed, type: fixed, value: 3}
parameter_constraints: [x1 <= x2, x1 + x2 >= 2, x1 + 2 * x2 <= 12, x1 + x2 <= 9]
objectives:
  - {metric: loss, minimize: true, threshold: 3}
  - {metric: accuracy, minimize: false}
outcome_constraints: ["qps >= -5%", size <= 10]
status_quo: {parameters: {lr: 0.01, layers: 2, x1: 1, x2: 3, kind: a}}
metrics: {loss: {}, accuracy: {}, qps: {}, size: {}, seconds: {}}
generation_strategy: {nodes: [{generator: sobol, num_trials: 3}, {generator: botorch}]}
trials: {total_trials: 9, max_pending_trials: 10}
runner: {type: local, command: ["true"]}
"""
    assert made.definition.canonical() == load_text(file).canonical()
    assert [m.name for m in made.optimization_config.metrics] == ["accuracy", "qps"]
    made.close()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: RangeParameter("x", lower=1, upper=0), "bounds of x must rise"),
        (lambda: ChoiceParameter("x", values=[1, "a", None]), "values of x must be all numbers"),
        (lambda: FixedParameter("x", value=[1]), "value of x must be one scalar"),
        (lambda: OrderConstraint("a", X1.model_copy(update={"name": "a"})), "two parameters"),
        (lambda: ParameterConstraint(inequality="x = 1"), "is not one inequality"),
        (lambda: SearchSpace([X1, X1]), "two parameters"),
        (lambda: SearchSpace([X1], [OrderConstraint("x1", "y")]), "not a parameter"),
        (lambda: Objective(expression="2"), "which changes nothing"),
        (lambda: GenerationStrategy(nodes=[], method="slow"), "fast"),
    ],
)
def test_a_definition_that_makes_no_sense_is_one_sentence(make, sentence):
    with pytest.raises(UserInputError, match=sentence):
        make()


def test_a_threshold_is_absolute():
    several = MultiObjective([Objective(expression="-a"), Objective(expression="b")])
    config = OptimizationConfig(several, [], [ObjectiveThreshold("a", 1, relative=True)])
    with pytest.raises(UnsupportedError, match="threshold is absolute"):
        config.written()


# -- trials


def test_a_trial_is_composed_and_moved_by_hand(experiment):
    mine = experiment()
    trial = mine.new_trial().add_arm(Arm(HERE))
    assert (trial.status, trial.arm.name, mine.session.is_made) == ("CANDIDATE", "0_0", True)
    assert mine.session.state().tally.created == 0
    trial.mark_staged()
    trial.mark_running()
    data = Data.from_evaluations({"0_0": {"loss": (3.0, 0.1)}}, trial_index=0)
    mine.attach_data(data)
    assert mine.lookup_data().rows == []
    trial.mark_completed()
    assert mine.lookup_data().rows == data.rows
    assert mine.get_best_parameterization(use_model_predictions=False)[0] == HERE
    assert [t.index for t in mine.trials_by_status()[TrialStatus.COMPLETED]] == [0]
    with pytest.raises(UserInputError, match="trial 0 is COMPLETED: its arms are fixed"):
        trial.add_arm(Arm(HERE))


@pytest.mark.parametrize("status", [*MOVES, TrialStatus.CANDIDATE])
def test_the_table_of_transitions_holds(experiment, status):
    """From every status, what the loop could do can be done, and nothing else."""
    ways = {
        TrialStatus.CANDIDATE: (),
        TrialStatus.STAGED: ("mark_staged",),
        TrialStatus.RUNNING: ("mark_running",),
        TrialStatus.ABANDONED: ("mark_abandoned",),
    }
    mine = experiment()
    way = ways.get(status, ("mark_running", MOVES.get(status, "")))
    through_staging = {TrialStatus.RUNNING} if status is TrialStatus.CANDIDATE else set()
    for wanted, move in MOVES.items():
        trial = mine.new_trial().add_arm(Arm(HERE))
        for step in way:
            getattr(trial, step)()
        if wanted in TRANSITIONS[status] | through_staging:
            getattr(trial, move)()
            assert trial.status is wanted
        else:
            sentence = f"trial {trial.index} cannot go from {status} to {wanted}"
            with pytest.raises(UserInputError, match=sentence):
                getattr(trial, move)()
            trial_status = mine.trials[trial.index].status
            assert trial_status is status
        if trial.status is TrialStatus.CANDIDATE:
            trial.mark_abandoned()


def test_equal_arms_share_a_name_and_others_never_do(experiment):
    mine = experiment(status_quo=Arm({"x1": 0, "x2": 0}))
    first = mine.new_trial().add_arm(Arm(HERE))
    again = mine.new_trial().add_arm(Arm(dict(reversed(HERE.items()))))
    named = mine.new_trial().add_arm(Arm({"x1": 3, "x2": 3}, name="mine"))
    quo = mine.new_trial().add_arm(Arm({"x1": 0.0, "x2": 0.0}))
    names = [t.arm.name for t in (first, again, named, quo)]
    assert names == ["1_0", "1_0", "mine", "status_quo"]
    with pytest.raises(UserInputError, match="there is another arm called 'mine' already"):
        mine.new_trial().add_arm(Arm({"x1": 4, "x2": 3}, name="mine"))
    with pytest.raises(UserInputError, match="is no name of an arm"):
        mine.new_trial().add_arm(Arm({"x1": 4, "x2": 3}, name="../x"))
    with pytest.raises(UserInputError, match=r"x1 = 11 is outside \[0, 10\]"):
        mine.new_trial().add_arm(Arm({"x1": 11, "x2": 3}))
    with pytest.raises(UserInputError, match="trial 1 has an arm already: 1_0"):
        first.add_arm(Arm({"x1": 4, "x2": 3}))


def test_a_batch_trial_measures_the_status_quo_beside_its_arms(experiment):
    mine = experiment(status_quo=Arm({"x1": 0, "x2": 0}))
    run = GeneratorRun([Arm(HERE), Arm({"x1": 3, "x2": 1})], weights=[2.0, 1.0])
    batch = mine.new_batch_trial(generator_run=run)
    batch.add_arms_and_weights([Arm(HERE), Arm({"x1": 4, "x2": 1})], [0.5, 1.0])
    weights = {"1_0": 2.5, "1_1": 1.0, "status_quo": 1.0, "1_2": 1.0}
    assert batch.arm_weights == weights
    batch.mark_running()
    assert (batch.arm_weights, repr(batch)[:20]) == (weights, "BatchTrial(1, RUNNIN")
    without = mine.new_batch_trial(should_add_status_quo_arm=False)
    with pytest.raises(UserInputError, match="there are 1 arms and 2 weights"):
        without.add_arms_and_weights([Arm(HERE)], [1, 2])
    with pytest.raises(UserInputError, match="above 0, not 0"):
        without.add_arm(Arm(HERE), 0)
    with pytest.raises(UserInputError, match="trial 2 has no arm: add one"):
        without.mark_running()


def test_a_later_trial_takes_the_earlier_candidates_into_the_store(experiment):
    mine = experiment()
    first, second, third = (
        mine.new_trial().add_arm(Arm({"x1": float(i), "x2": 0.0})) for i in range(3)
    )
    second.mark_running()
    statuses = [r.trial.status for r in mine.session.records()]
    assert statuses == [TrialStatus.CANDIDATE, TrialStatus.RUNNING]
    mine.save()
    assert len(mine.session.records()) == 3
    other = Experiment.load("dev", mine.session.place.url)
    assert {i: t.status for i, t in other.trials.items()} == {
        0: "CANDIDATE",
        1: "RUNNING",
        2: "CANDIDATE",
    }
    other.trials[0].mark_abandoned("never mind")
    assert (first.status, first.status_reason) == (TrialStatus.ABANDONED, "never mind")
    assert third.status is TrialStatus.CANDIDATE
    other.close()


def test_what_another_process_made_meanwhile_is_not_overwritten(experiment):
    mine, other = experiment(), experiment()
    trial = mine.new_trial().add_arm(Arm(HERE))
    other.new_trial().add_arm(Arm({"x1": 5, "x2": 0})).mark_running()
    with pytest.raises(UserInputError, match="another process has made 1 trials meanwhile"):
        trial.mark_running()


def test_what_a_program_began_the_service_door_ends(experiment, either):
    mine = experiment()
    mine.new_trial().add_arm(Arm(HERE)).mark_running()
    with Client(either) as client:
        client.load_experiment("dev")
        client.complete_trial(0, (1.0, 0.0))
        _, index = client.get_next_trial()
    assert [t.status for t in mine.trials.values()] == ["COMPLETED", "RUNNING"]
    mine.trials[index].mark_failed("it broke")
    assert client.experiment.trials[1].status_reason == "it broke"


# -- results


def test_metrics_that_know_how_are_fetched(experiment):
    class Loss(Metric):
        def fetch_trial_data(self, trial, **_):
            return Ok(
                {name: (arm.parameters["x1"], 0.1) for name, arm in trial.arms_by_name.items()}
            )

    mine = experiment(config=OptimizationConfig(Objective(Loss("loss", lower_is_better=True))))
    mine.new_batch_trial().add_arms_and_weights([Arm(HERE), Arm({"x1": 3, "x2": 1})])
    mine.trials[0].mark_running().mark_completed()
    assert mine.fetch_data().rows == mine.lookup_data().rows
    assert [row["mean"] for row in mine.lookup_data().rows] == [1.0, 3.0]
    assert mine.get_best_parameters(use_model_predictions=False)[0] == HERE


def test_curves_are_data_with_a_step(experiment):
    mine = experiment()
    mine.new_trial().add_arm(Arm(HERE)).mark_running()
    row = {"trial_index": 0, "arm_name": "0_0", "metric_name": "loss"}
    mine.attach_data(
        Data(rows=[row | {"mean": 5 - s, "sem": math.nan, "step": s} for s in (1, 2)])
    )
    mine.trials[0].mark_completed()
    assert [(r["mean"], r["sem"]) for r in mine.lookup_data().rows] == [(3.0, None)]


@pytest.mark.parametrize(
    ("row", "error", "sentence"),
    [
        ({"arm_name": "0_0"}, UserInputError, "lacks 'metric_name'"),
        ({"mean": math.nan}, UserInputError, "loss is nan, not a finite number"),
        ({"arm_name": "9"}, UserInputError, "trial 0 has no arm '9'; it has 0_0"),
        ({"metric_name": "los"}, UserInputError, "did you mean 'loss'"),
        ({"trial_index": None}, UserInputError, "lacks 'trial_index'"),
        ({"trial_index": 7}, ObjectNotFoundError, "dev has no trial 7 that was deployed"),
    ],
)
def test_data_that_make_no_sense_are_refused(experiment, row, error, sentence):
    mine = experiment()
    mine.new_trial().add_arm(Arm(HERE)).mark_running()
    whole = {"trial_index": 0, "arm_name": "0_0", "metric_name": "loss", "mean": 1.0}
    given = (
        row if "arm_name" in row and len(row) == 1 and row["arm_name"] == "0_0" else whole | row
    )
    with pytest.raises(error, match=sentence):
        mine.attach_data(Data(rows=[given]))
    assert mine.lookup_data().rows == []


def test_results_are_relative_to_the_status_quo_of_their_trial(experiment):
    mine = experiment(status_quo=Arm({"x1": 0, "x2": 0}))
    for loss in (10.0, 20.0):
        batch = mine.new_batch_trial().add_arm(Arm(HERE)).mark_running()
        results = {"status_quo": {"loss": (loss, 0.0)}, "1_0": {"loss": (15.0, 0.3)}}
        mine.attach_data(Data.from_evaluations(results, batch.index))
        batch.mark_completed()
    alone = mine.new_trial().add_arm(Arm({"x1": 5, "x2": 5})).mark_running()
    mine.attach_data(Data.from_evaluations({"3_0": {"loss": (30.0, None)}}, alone.index))
    alone.mark_completed()
    rows = [(r["trial_index"], r["mean"], r["sem"]) for r in mine.relative_data().rows]
    assert rows == [
        (1, pytest.approx(50.0), pytest.approx(3.0)),
        (2, pytest.approx(-25.0), pytest.approx(1.5)),
        (3, pytest.approx(100.0), None),
    ]


def test_the_delta_method_agrees_with_simulation():
    import random

    source = random.Random(1)
    test, control = (5.0, 0.2), (-4.0, 0.1)
    found = [
        100 * (source.gauss(*test) - (c := source.gauss(*control))) / abs(c) for _ in range(20000)
    ]
    mean = sum(found) / len(found)
    deviation = math.sqrt(sum((f - mean) ** 2 for f in found) / len(found))
    percent, sem = relativized(test, control)
    assert percent == pytest.approx(225.0)
    assert mean == pytest.approx(percent, rel=0.01)
    assert sem == pytest.approx(deviation, rel=0.05)
    assert relativized((1.0, 0.1), (0.0, 0.1)) is None
    assert relativized((1.0, 0.1), (2.0, None)) == (-50.0, None)


# -- generators


def test_generators_are_asked_by_hand(experiment):
    mine = experiment(name="by-hand")
    sobol = Generators.SOBOL(mine, seed=1)
    first, second = sobol.gen(2), sobol.gen(1)
    arms = [arm.parameters for run in (first, second) for arm in run.arms]
    assert len({tuple(arm.items()) for arm in arms}) == 3
    mine.new_batch_trial(first).mark_running()
    alone = Models.SOBOL(search_space=SPACE, seed=1).gen(3)
    assert [arm.parameters for arm in alone.arms] == arms
    assert mine.session.record(0).generator == "sobol"
    with pytest.raises(ModelError, match="botorch"):
        Generators.BOTORCH_MODULAR(mine).gen(1)
    with pytest.raises(UserInputError, match="a trial takes one arm, not 2"):
        mine.new_trial(first)
    with pytest.raises(UserInputError, match="give an experiment or a search_space"):
        Generators.SOBOL()


def test_a_strategy_knows_whose_turn_it_is(experiment):
    strategy = GenerationStrategy(
        steps=[GenerationStep(Models.UNIFORM, 1), GenerationStep(Models.SOBOL)]
    )
    mine = experiment(generation_strategy=strategy)
    for _ in range(2):
        mine.new_trial(strategy.gen(mine)).mark_running()
    assert [r.generator for r in mine.session.records()] == ["random", "sobol"]
    assert dict(mine.session.state().tally.generated) == {0: 1, 1: 1}


def test_what_is_missing_is_told(experiment):
    with pytest.raises(UserInputError, match="the experiment bare has no optimization_config yet"):
        Experiment(SPACE, "bare").new_trial()
    with pytest.raises(UserInputError, match="the experiment has no runner of yours"):
        experiment().new_trial().add_arm(Arm(HERE)).run()
    with pytest.raises(ObjectNotFoundError, match="there is no experiment 'none'"):
        Experiment.load("none", experiment().made.place.url)
