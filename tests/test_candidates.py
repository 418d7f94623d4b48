"""From a state to what a generator is asked, and from its reply to trials."""

import pytest

from scheduler import candidates
from scheduler.generation.protocol import GenerationReply, Measured, Proposal
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import ExperimentState, Tally
from scheduler.model.nodes import Traits
from scheduler.model.observation import Outcome
from scheduler.model.strategy import turn
from scheduler.model.trial import Arm, Trial, TrialStatus

X = {"name": "x", "type": "range", "bounds": [0, 1]}
TWO_NODES = [{"generator": "sobol", "num_trials": 3}, {"generator": "botorch"}]


def definition(nodes=TWO_NODES, x=X, **changes):
    return ExperimentDefinition.model_validate(
        {
            "name": "e",
            "parameters": [x],
            "objective": "-loss",
            "generation_strategy": {"nodes": nodes, "seed": 7},
            "runner": {"command": ["true"]},
            **changes,
        }
    )


def state(made=None, observed=0, **fields):
    outcomes = tuple(Outcome(i, f"{i}_0", {"loss": 1.0}) for i in range(observed))
    return ExperimentState(definition=made or definition(), outcomes=outcomes, **fields)


GENERATORS = {
    "at first": ({}, 0, "sobol"),
    "while the first node has trials left": ({0: 2}, 9, "sobol"),
    "after the first node": ({0: 3}, 3, "botorch"),
    "after the first node, with too little to learn from": ({0: 3}, 2, "sobol"),
}


@pytest.mark.parametrize("case", GENERATORS, ids=str)
def test_who_is_asked(case):
    generated, observed, name = GENERATORS[case]
    there = state(observed=observed, tally=Tally(generated=generated))
    assert turn(there).generator == name
    assert candidates.request(there, 4, candidates.Known()).generator == name
    assert candidates.needs_data(there) is (name == "botorch")


def test_a_model_is_asked_for_one_trial_and_a_sequence_for_all():
    sobol = state()
    model = state(observed=3, tally=Tally(generated={0: 3}))
    assert candidates.request(sobol, 4, candidates.Known()).trials == 4
    assert candidates.request(model, 4, candidates.Known()).trials == 1


KINDS = {
    "one that learns": (Traits(), 1, True, True),
    "one that learns and proposes jointly": (Traits(joint=True), 4, True, True),
    "one that does not learn": (Traits(learns=False), 4, False, True),
    "one that never repeats itself": (Traits(learns=False, distinct=True), 4, False, False),
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_generator_is_asked_as_its_traits_say(kind):
    traits, trials, data, seen = KINDS[kind]
    nodes = [{"generator": "mine", "options": {"k": 3}, "num_trials": 9}, {"generator": "sobol"}]
    tally = Tally(cursors={"sobol": 7, "mine": 2})
    there = state(definition(nodes), generators={"mine": traits}, tally=tally)
    made = candidates.request(there, 4, candidates.Known())
    assert (made.generator, made.trials, made.cursor) == ("mine", trials, 2)
    assert (made.sobol_cursor, made.options, made.node_trials) == (7, {"k": 3}, 9)
    assert candidates.needs_data(there) is data
    assert candidates.needs_seen(there) is seen


def test_sobol_in_the_place_of_another_is_asked_as_itself():
    nodes = [{"generator": "mine", "options": {"k": 3}}]
    there = state(definition(nodes), tally=Tally(cursors={"sobol": 7, "mine": 2}))
    made = candidates.request(there, 4, candidates.Known())
    assert (made.generator, made.trials, made.cursor, made.options) == ("sobol", 4, 7, {})


SPENT = {
    "arms were made": ("grid", False, 0),
    "the grid is at its end": ("grid", True, 1),
    "no generator could make another": ("sobol", True, 2),
}


@pytest.mark.parametrize("case", SPENT, ids=str)
def test_a_node_without_new_arms_gives_way(case):
    generator, exhausted, nodes = SPENT[case]
    last = GenerationReply(generator, (), exhausted=exhausted)
    assert candidates.spent(state(), last) == nodes


class Records:
    """What a store would say."""

    def __init__(self, measured=(), failed=(), arms=()):
        self.measured = lambda: measured
        self.failed = lambda reasons: failed
        self.arms = lambda: arms


def learning(**strategy):
    strategy = {"nodes": TWO_NODES, **strategy}
    made = definition(generation_strategy=strategy)
    return state(made, observed=3, tally=Tally(generated={0: 3}))


BAD, GOOD = {"x": 0.9}, {"x": 0.5}
PAST = Records(((GOOD, {"loss": (1.0, None)}),), (BAD, GOOD), (BAD, GOOD))


def test_a_model_is_told_which_arms_failed_unless_they_worked_elsewhere():
    known = candidates.known(learning(), PAST)
    assert known == candidates.Known(PAST.measured(), (BAD,), (BAD, GOOD))
    assert candidates.request(learning(), 1, known).failed == (BAD,)


def test_failed_arms_are_not_told_where_nobody_learns_from_them():
    assert candidates.known(learning(learn_feasibility=False), PAST).failed == ()
    assert candidates.known(state(), PAST) == candidates.Known()


def test_a_request_says_what_is_measured_pending_and_seen():
    waiting = Trial(0, (Arm("0_0", {"x": 0.1}), Arm("0_1", {"x": 0.2})))
    running = Trial(2, (Arm("2_0", {"x": 0.3}),), TrialStatus.RUNNING)
    there = state(active={0: waiting, 2: running}, tally=Tally(created=3, cursors={"sobol": 5}))
    past = candidates.Known((({"x": 0.5}, {"loss": (1.0, None)}),), seen=({"x": 0.5},))
    made = candidates.request(there, 1, past)
    assert made.pending == ({"x": 0.1}, {"x": 0.2}, {"x": 0.3})
    assert made.observed == (Measured({"x": 0.5}, {"loss": (1.0, None)}),)
    assert (made.seen, made.cursor) == (({"x": 0.5},), 5)


def test_the_seed_follows_from_the_index_of_the_trial_alone():
    seeds = [candidates.seed_of(7, index) for index in range(50)]
    assert len(set(seeds)) == 50
    assert seeds[0] == candidates.seed_of(7, 0) != candidates.seed_of(8, 0)
    assert (
        candidates.request(state(tally=Tally(created=3)), 1, candidates.Known()).seed == seeds[3]
    )


@pytest.mark.parametrize(
    ("x", "wanted"), [(X, False), ({"name": "x", "type": "choice", "values": ["a", "b"]}, True)]
)
def test_arms_that_exist_are_told_where_one_may_well_come_again(x, wanted):
    assert candidates.needs_seen(state(definition(x=x))) is wanted


def reply(*trials, **fields):
    arms = tuple(tuple(Proposal({"x": x}) for x in trial) for trial in trials)
    return GenerationReply("sobol", arms, **fields)


def test_a_reply_becomes_candidates_numbered_on():
    there = state(tally=Tally(created=3, generator_runs=1, generated={0: 3}))
    changes = candidates.arrivals(there, reply([0.1], [0.2], cursor=9, seconds=0.5, node=1), 10.0)
    assert [(t.index, t.node, t.generator_run, t.status) for t in changes.trials] == [
        (3, 1, 1, TrialStatus.CANDIDATE),
        (4, 1, 1, TrialStatus.CANDIDATE),
    ]
    assert [a.name for t in changes.trials for a in t.arms] == ["3_0", "4_0"]
    (run,) = changes.generator_runs
    assert (run.index, run.cursor, run.seconds, run.created_at) == (1, 9, 0.5, 10.0)


def test_what_a_model_said_is_kept_arm_by_arm():
    said, knew = {"loss": {"mean": 1.0, "sem": 0.5}}, {"p_feasible": 0.5}
    trials = ((Proposal({"x": 0.1}), Proposal({"x": 0.2}, said, knew, 3.0)),)
    changes = candidates.arrivals(state(), GenerationReply("botorch", trials), 0.0)
    assert changes.generator_runs[0].predictions == ({}, said)
    assert changes.generator_runs[0].insights == ({}, knew)
    assert [arm.weight for arm in changes.trials[0].arms] == [1.0, 3.0]
    (run,) = candidates.arrivals(state(), reply([0.1]), 0.0).generator_runs
    assert (run.predictions, run.insights) == ((), ())


def test_a_batch_trial_measures_the_status_quo_as_well():
    made = definition(trials={"batch_size": 2}, status_quo={"parameters": {"x": 0.5}})
    (trial,) = candidates.arrivals(state(made), reply([0.1, 0.2]), 0.0).trials
    assert [(a.name, a.parameters["x"]) for a in trial.arms] == [
        ("0_0", 0.1),
        ("0_1", 0.2),
        ("status_quo", 0.5),
    ]


def test_a_single_arm_is_not_joined_by_the_status_quo():
    made = definition(status_quo={"parameters": {"x": 0.5}})
    (trial,) = candidates.arrivals(state(made), reply([0.1]), 0.0).trials
    assert [a.name for a in trial.arms] == ["0_0"]


def test_an_empty_reply_is_no_generator_run():
    assert not candidates.arrivals(state(), reply(exhausted=True), 0.0)


def test_a_step_down_is_told():
    changes = candidates.arrivals(state(), reply([0.1], note="the fit failed"), 5.0)
    assert [(e.kind, e.message) for e in changes.events] == [
        ("generator_stepped_down", "the fit failed")
    ]
