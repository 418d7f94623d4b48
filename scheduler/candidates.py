"""From a generator's reply to trials, and from a state to what a generator is asked. Pure."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from scheduler.generation.protocol import GenerationReply, GenerationRequest, Measured, Proposal
from scheduler.model.definition import ExperimentDefinition, signature
from scheduler.model.experiment import STATUS_QUO, Changes, Event, ExperimentState
from scheduler.model.nodes import SOBOL
from scheduler.model.observation import Arms, GeneratorRun, MeasuredArms
from scheduler.model.strategy import FAST, nodes_of, turn
from scheduler.model.trial import ARMS_OWN, Arm, Trial

T = TypeVar("T")

FINITE = 100_000
"""Search spaces of at most so many arms are checked for arms that exist already."""


class Records(Protocol):
    """What is stored of an experiment for generators to learn from."""

    def measured(self) -> MeasuredArms:
        """Return (parameters, metrics) of measured arms."""

    def failed(self, reasons: Collection[str]) -> Arms:
        """Return the arms of trials that FAILED for one of ``reasons``."""

    def arms(self) -> Arms:
        """Return all arms there are."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the next generator is told of the past."""

    measured: MeasuredArms = ()
    failed: Arms = ()
    seen: Arms = ()


def known(state: ExperimentState, records: Records) -> Known:
    """Read what the next generator needs, and no more.

    An arm that failed in one trial and was measured in another, as the status quo of batch
    trials may be, counts as measured.
    """
    seen = records.arms() if needs_seen(state) else ()
    if not needs_data(state):
        return Known(seen=seen)
    measured = records.measured()
    if not state.definition.generation_strategy.learn_feasibility:
        return Known(measured, (), seen)
    works = {signature(parameters) for parameters, _ in measured}
    failed = records.failed(own_doing(state.definition))
    failed = tuple(arm for arm in failed if signature(arm) not in works)
    return Known(measured, failed, seen)


def own_doing(definition: ExperimentDefinition) -> frozenset[str]:
    """Return the reasons of a failure that lie in the arm: also where a log policy says so."""
    policies = definition.failures.log_policies
    return ARMS_OWN | {policy.reason for policy in policies if policy.action == "fail"}


def request(state: ExperimentState, wanted: int, past: Known) -> GenerationRequest:
    """Return the request for the next trials. It depends on what is stored, and on nothing else.

    A model is asked for one trial at a time, so that each is conditioned on the one before.
    """
    mine, cursors = turn(state), state.tally.cursors
    one = mine.traits.learns and not mine.traits.joint
    return GenerationRequest(
        definition=state.definition,
        generator=mine.generator,
        seed=seed_of(state.definition.generation_strategy.seed, state.tally.created),
        trials=1 if one and not mine.replaced else wanted,
        arms_per_trial=state.definition.trials.batch_size,
        cursor=cursors.get(mine.generator, 0),
        sobol_cursor=cursors.get(SOBOL, 0),
        options={} if mine.replaced else mine.node.options,
        node=mine.index,
        node_trials=mine.node.trials or state.definition.trials.total_trials,
        observed=tuple(Measured(parameters, metrics) for parameters, metrics in past.measured),
        pending=tuple(arm.parameters for t in state.active.values() for arm in t.arms),
        seen=past.seen,
        failed=past.failed,
        baseline=state.baseline,
    )


def evidence(state: ExperimentState, measured: MeasuredArms) -> GenerationRequest:
    """Return the request that asks a model about all that was measured, whoever is next."""
    asked = request(state, 1, Known(measured))
    return replace(asked, generator=FAST.generator, options={})


def needs_data(state: ExperimentState) -> bool:
    """Whether the next generator learns, so that it must be given what was measured."""
    mine = turn(state)
    return mine.traits.learns and not mine.replaced


def needs_seen(state: ExperimentState) -> bool:
    """Whether the next arm may well be one that exists already."""
    mine = turn(state)
    distinct = mine.traits.distinct or mine.replaced
    return not distinct or state.definition.cardinality <= FINITE


def seed_of(seed: int, trial_index: int) -> int:
    """Return the seed of the request whose first trial is ``trial_index``."""
    digest = hashlib.blake2b(f"{seed}/{trial_index}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")


def arrivals(state: ExperimentState, reply: GenerationReply, now: float) -> Changes:
    """Return the new CANDIDATE trials of a reply, its generator run, and an event if it is one."""
    run = GeneratorRun(
        index=state.tally.generator_runs,
        node=reply.node,
        generator=reply.generator,
        seed=seed_of(state.definition.generation_strategy.seed, state.tally.created),
        cursor=reply.cursor,
        seconds=reply.seconds,
        created_at=now,
        predictions=_for_each(p.prediction for t in reply.trials for p in t),
        insights=_for_each(p.insight for t in reply.trials for p in t),
        note=reply.note,
    )
    trials = tuple(
        Trial(
            index=index,
            arms=_arms(state, index, proposals),
            generator_run=run.index,
            node=reply.node,
            created_at=now,
        )
        for index, proposals in enumerate(reply.trials, state.tally.created)
    )
    events = [Event(now, "generator_stepped_down", reply.note)] if reply.note else []
    if "generation_failed" in state.troubles:
        events.append(Event(now, "generation_resumed", "arms are proposed again"))
    return Changes(
        time=now,
        trials=trials,
        generator_runs=(run,) if trials else (),
        events=tuple(events),
    )


def spent(state: ExperimentState, reply: GenerationReply) -> int:
    """Return how many nodes have no new arm left after ``reply``: where Sobol has none, all."""
    if not reply.exhausted:
        return state.spent_nodes
    return len(nodes_of(state.definition)) if reply.generator == SOBOL else reply.node + 1


def _for_each(found: Iterable[Mapping[str, T] | None]) -> tuple[Mapping[str, T], ...]:
    """Return what was said of each arm; nothing where nothing was said of any."""
    said = tuple(each or {} for each in found)
    return said if any(said) else ()


def _arms(state: ExperimentState, index: int, proposals: tuple[Proposal, ...]) -> tuple[Arm, ...]:
    """Return a trial's arms; a batch trial measures the status quo as well."""
    arms = [Arm(f"{index}_{k}", p.parameters, p.weight) for k, p in enumerate(proposals)]
    definition = state.definition
    if definition.trials.batch_size > 1 and definition.status_quo is not None:
        arms.append(Arm(STATUS_QUO, definition.admit(definition.status_quo.parameters)))
    return tuple(arms)
