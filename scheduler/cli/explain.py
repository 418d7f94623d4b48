"""The verb that says why a trial was proposed."""

from collections.abc import Iterator

import click

from scheduler.cli import common, text, views
from scheduler.insight.explain import Expected, Explanation, explained, node_of
from scheduler.insight.nearest import Near
from scheduler.insight.proposals import Proposed, proposed
from scheduler.model.definition import ExperimentDefinition
from scheduler.storage import read

SHOWN = 3
"""Parameters that are named where two arms differ."""


@click.command()
@common.trial_argument
@common.storage_option
@common.json_option
def explain(index: int, experiment: str | None, storage: str | None, as_json: bool) -> None:
    """Say why a trial was proposed.

    Which generator made it and how much that knew; what the model predicted and what was
    observed; how much of it was exploration; the earlier trial most like it.
    """
    found = common.find_trial(storage, experiment, index)
    store, of = found.store, found.experiment
    runs = read.generator_runs(store, of.id)
    arms = list(proposed(read.trials(store, of.id, limit=index + 1), runs))
    explanations = explained(of.definition, arms, index, store.peek(of).transferred)
    if as_json:
        common.print_json(_view(of.definition, found.record, explanations))
    else:
        click.echo("\n".join(_lines(of.definition, found.record, explanations)))


def _lines(
    definition: ExperimentDefinition, record: read.TrialRecord, found: list[Explanation]
) -> Iterator[str]:
    note = text.note(record.trial)
    status = f"{record.trial.status}{f', {note}' if note else ''}"
    yield f"trial {record.trial.index} of {definition.name}: {status}"
    for each in found:
        yield f"  arm {each.proposed.arm.name}: {text.parameters(each.proposed.arm.parameters)}"
        yield f"    {_origin(definition, each)}"
        yield from (f"    {metric}: {_expected(e)}" for metric, e in each.expected.items())
        yield from (f"    {line}" for line in _chances(definition, each))
        yield f"    {_nearest(each)}"


def _origin(definition: ExperimentDefinition, each: Explanation) -> str:
    """Return in a sentence who chose an arm, and from what."""
    run = each.proposed.run
    if each.origin == "status quo":
        return "the status quo: measured because others are compared with it"
    if run is None:
        return "given by a person: no generator chose it"
    meant = node_of(definition, each.proposed)
    place = f"{run.generator} (node {run.node} of the generation strategy)"
    if run.note:
        place += f", in place of {meant}: {text.one_line(run.note)}"
    elif meant not in (None, run.generator):
        place += f", in place of {meant}, which had too little to learn from yet"
    if each.origin == "space-filling":
        return f"by {place}: arms that fill the space, without a model and its predictions"
    pending = f" and {each.pending} pending" if each.pending else ""
    return f"by {place}, which knew {each.observations} measured arms{pending}"


def _expected(e: Expected) -> str:
    predicted = f"predicted {text.number(e.mean)} ± {e.sd:.2g}"
    if e.observed is None:
        return f"{predicted}, not observed"
    sem = f" ± {e.sem:.2g}" if e.sem else ""
    seen = f"{predicted}, observed {text.number(e.observed)}{sem}"
    if e.off is None:
        return seen
    return f"{seen} ({abs(e.off):.1f} sd {'above' if e.off > 0 else 'below'})"


def _chances(definition: ExperimentDefinition, each: Explanation) -> Iterator[str]:
    """Yield how much an arm was exploration, and whether it was thought to be feasible."""
    way = each.exploration
    if way is not None and way.p_improve is not None:
        best = "the best so far"
        if way.incumbent is not None:
            name = definition.all_objectives[0].name
            best += f", {name} = {text.number(way.incumbent)}"
        doubt = "" if way.doubt is None else f"; {_doubt(way.doubt)}"
        motive = way.motive if way.motive == "fine-tuning" else f"mostly {way.motive}"
        yield f"{motive}: {way.p_improve:.0%} chance to beat {best}{doubt}"
    elif each.p_improve is not None:
        yield f"{each.p_improve:.0%} chance to improve on the Pareto front so far"
    if each.p_feasible is not None:
        yield f"{each.p_feasible:.0%} chance to be feasible"


def _doubt(share: float) -> str:
    if share >= 1:
        return "hardly anything was known here"
    return f"the model's doubt here was {share:.0%} of the spread of what it had seen"


def _nearest(each: Explanation) -> str:
    """Return in a line the earlier arm most like this one, and what came of that."""
    near, other = each.nearest, each.neighbour
    if near is None or other is None:
        return "no trial came before it"
    here, there = each.proposed.arm.parameters, other.arm.parameters
    names = list(near.differences)
    apart = [
        f"{n} {text.scalar(there.get(n))} there, {text.scalar(here.get(n))} here" for n in names
    ]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    if other.metrics:
        came = ", ".join(f"{m} = {text.measured(o)}" for m, o in other.metrics.items())
    else:
        came = f"{other.trial.status}{f' ({other.trial.reason})' if other.trial.reason else ''}"
    how = f"{near.distance:.2g} away ({'; '.join(apart[:SHOWN])}{more})" if names else "the same"
    return f"nearest earlier arm {other.arm.name} (trial {other.trial.index}), {how}: {came}"


def _view(
    definition: ExperimentDefinition, record: read.TrialRecord, found: list[Explanation]
) -> views.View:
    return {
        "experiment": definition.name,
        "trial_index": record.trial.index,
        "status": record.trial.status.value,
        "arms": [_arm_view(definition, each) for each in found],
    }


def _arm_view(definition: ExperimentDefinition, each: Explanation) -> views.View:
    run, way, near, other = each.proposed.run, each.exploration, each.nearest, each.neighbour
    return {
        **views.arm_view(each.proposed.arm, each.proposed.metrics),
        "origin": each.origin,
        "generator": run.generator if run else None,
        "node": run.node if run else None,
        "node_generator": node_of(definition, each.proposed),
        "note": run.note if run else "",
        "observations": each.observations,
        "pending": each.pending,
        "expected": {metric: _expected_view(e) for metric, e in each.expected.items()},
        "motive": way.motive if way else "",
        "p_improve": views.finite(each.p_improve),
        "incumbent": views.finite(way.incumbent) if way else None,
        "doubt": views.finite(way.doubt) if way else None,
        "p_feasible": views.finite(each.p_feasible),
        "insight": dict(each.proposed.insight),
        "nearest": near and other and _near_view(near, other),
    }


def _expected_view(e: Expected) -> views.View:
    numbers = {"mean": e.mean, "sd": e.sd, "observed": e.observed, "sem": e.sem, "off": e.off}
    return {name: views.finite(number) for name, number in numbers.items()}


def _near_view(near: Near, other: Proposed) -> views.View:
    return {
        "trial_index": other.trial.index,
        "status": other.trial.status.value,
        "distance": near.distance,
        "differences": dict(near.differences),
        **views.arm_view(other.arm, other.metrics),
    }
