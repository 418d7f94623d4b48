"""The verbs that show what is best: best, pareto."""

from collections.abc import Iterator

import click

from scheduler.cli import common, text, views
from scheduler.cli.refused import Refused
from scheduler.finding import Finding, finding
from scheduler.insight.choice import Believed, Dominated, dominated

observed_option = click.option(
    "--observed", "raw", is_flag=True, help="Go by what was observed; fit no model. Quick."
)


@click.command()
@common.name_argument
@observed_option
@common.storage_option
@common.json_option
def best(name: str | None, raw: bool, storage: str | None, as_json: bool) -> None:
    """Show the best arm found so far.

    By the means that a model believes in, so that one lucky measurement does not win, among the
    arms that are feasible by the same means; what was observed stands beside them. By what was
    observed where that is free of noise, or where no model can be fitted. With several objectives
    this is the Pareto front. Where no arm is feasible, the one that misses by least is shown, and
    said to be infeasible.
    """
    _show(_found(storage, name, raw), as_json)


@click.command()
@common.name_argument
@observed_option
@common.storage_option
@common.json_option
def pareto(name: str | None, raw: bool, storage: str | None, as_json: bool) -> None:
    """Show the Pareto front of several objectives.

    The feasible arms that no other one beats in every objective, by the means that a model
    believes in (see ``schedd best``), and the hypervolume that they dominate: from the objectives'
    thresholds, or from a reference point that is inferred from the front.
    """
    definition = common.find(storage, name)[1].definition
    if len(definition.all_objectives) < 2:
        raise Refused(f"{definition.name} has one objective; see schedd best {definition.name}")
    _show(_found(storage, name, raw), as_json)


def _found(storage: str | None, name: str | None, raw: bool) -> Finding:
    return finding(*common.find(storage, name), raw)


def _show(found: Finding, as_json: bool) -> None:
    several = len(found.state.definition.all_objectives) > 1
    volume = dominated(found.state.definition, found.choice.chosen) if several else None
    if as_json:
        common.print_json(_view(found, several, volume))
    else:
        click.echo("\n".join(_lines(found, several, volume)))


def _view(found: Finding, several: bool, volume: Dominated | None) -> views.View:
    chosen, least = found.choice.chosen, found.choice.least_infeasible
    head = {"experiment": found.state.definition.name, "by": found.by, "why": found.why}
    tail = {
        "least_infeasible": _arm_view(found, least) if least else None,
        "infeasible": found.choice.infeasible,
        "arms": found.choice.arms,
    }
    if not several:
        one = _arm_view(found, chosen[0]) if chosen else None
        raw = found.observed.chosen
        return {
            **head,
            "best": one,
            "best_observed": _arm_view(found, raw[0]) if raw else None,
            **tail,
        }
    measure = volume and {
        "volume": views.finite(volume.volume),
        "reference": dict(volume.reference),
        "inferred": list(volume.inferred),
    }
    return {**head, "front": [_arm_view(found, b) for b in chosen], "hypervolume": measure, **tail}


def _arm_view(found: Finding, each: Believed) -> views.View:
    arm, means = each.candidate.arm, each.outcome.means
    pairs = each.candidate.observed.items()
    return {
        "trial_index": each.candidate.trial_index,
        "name": arm.name,
        "parameters": dict(arm.parameters),
        "objectives": {
            o.name: views.finite(o.value(means)) for o in found.state.definition.all_objectives
        },
        "metrics": {m: {"mean": views.finite(v), "sem": views.finite(s)} for m, (v, s) in pairs},
        "believed": {m: dict(moments) for m, moments in each.moments.items()},
        "p_feasible": each.p_feasible,
    }


def _lines(found: Finding, several: bool, volume: Dominated | None) -> Iterator[str]:
    state, choice = found.state, found.choice
    measure = "by the model" if found.by == "model" else "by what was observed"
    by = f"{measure}: {found.why}" if found.why else measure
    if not state.outcomes:
        yield "no trial has completed"
        return
    if several:
        names = ", ".join(
            f"{o.name} ({'down' if o.minimize else 'up'})" for o in state.definition.all_objectives
        )
        yield f"{len(choice.chosen)} arms on the Pareto front of {names}, {by}"
    elif choice.chosen:
        yield f"best arm {by}"
    for each in choice.chosen:
        yield from _arm_lines(found, each)
    if volume is not None:
        yield _volume_line(volume)
    if not choice.chosen:
        yield from _nothing_lines(found, measure)
    elif choice.infeasible:
        share = f"{choice.infeasible} of {choice.arms} arms"
        yield f"{share} break an outcome constraint or a threshold"
    if not several:
        yield from _lucky_lines(found)


def _arm_lines(found: Finding, each: Believed) -> Iterator[str]:
    """Yield an arm: its name, what is believed of it and was observed, its parameters."""
    arm = each.candidate.arm
    yield f"{arm.name} (trial {each.candidate.trial_index}): {text.parameters(arm.parameters)}"
    for objective in found.state.definition.all_objectives:
        value = objective.value(each.outcome.means)
        if objective.metric is None and value is not None:
            yield f"  {objective.name} = {text.number(value)}"
    yield from (f"  {line}" for line in _metric_lines(each))
    if each.p_feasible is not None:
        yield f"  {each.p_feasible:.0%} chance to be feasible"


def _metric_lines(each: Believed) -> Iterator[str]:
    for metric, (mean, sem) in each.candidate.observed.items():
        error = f" ± {sem:.2g}" if sem else ""
        seen = f"{text.number(mean)}{error}"
        moments = each.moments.get(metric)
        if moments is None or not moments["sem"]:
            yield f"{metric} = {seen}"
        else:
            believed = f"{text.number(moments['mean'])} ± {moments['sem']:.2g}"
            yield f"{metric} = {believed}, observed {seen}"


def _volume_line(volume: Dominated) -> str:
    reference = ", ".join(f"{name} = {text.number(v)}" for name, v in volume.reference.items())
    inferred = ", ".join(volume.inferred)
    how = f", inferred for {inferred}: no threshold is given" if inferred else ""
    return f"hypervolume {text.number(volume.volume)} from {reference}{how}"


def _nothing_lines(found: Finding, measure: str) -> Iterator[str]:
    definition, least = found.state.definition, found.choice.least_infeasible
    limits = [str(c) for c in definition.outcome_constraints]
    limits += [
        f"{o.name} {'<=' if o.minimize else '>='} {text.number(o.threshold)}"
        for o in definition.all_objectives
        if o.threshold is not None
    ]
    yield f"no arm is feasible {measure}: none satisfies {' and '.join(limits)}"
    if least is None:
        yield "the baseline of a relative constraint has not been measured yet"
        return
    yield "the least infeasible arm, which is not feasible:"
    yield from _arm_lines(found, least)


def _lucky_lines(found: Finding) -> Iterator[str]:
    """Yield which arm would be the best by what was observed, where that is another one."""
    chosen, lucky = found.choice.chosen, found.observed.chosen
    if not chosen or not lucky or chosen[0].candidate == lucky[0].candidate:
        return
    other = lucky[0].candidate
    objective = found.state.definition.all_objectives[0]
    value = objective.value({m: mean for m, (mean, _) in other.observed.items()})
    assert value is not None
    yield (
        f"by what was observed alone it would be {other.arm.name} (trial {other.trial_index}), "
        f"{objective.name} = {text.number(value)}, which the model takes for luck in part"
    )
