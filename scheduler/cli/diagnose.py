"""The verb that says how far the model's predictions can be trusted."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass

import click

from scheduler.cli import common, text, views
from scheduler.generation.space import GenerationError
from scheduler.insight.calibration import Calibration, Foretold, calibration, predicts, verdict
from scheduler.insight.health import hints
from scheduler.insight.proposals import Proposed, proposed
from scheduler.learned import learned
from scheduler.model.definition import ExperimentDefinition
from scheduler.storage import read
from scheduler.storage.store import Experiment, Store


@dataclass(frozen=True, slots=True)
class Judged:
    """One metric: how predictions of it came true."""

    metric: str
    foretold: Calibration | None
    """Predicted when arms were proposed, observed later."""
    left_out: Calibration | None
    """Each arm predicted by the present model from all the others."""
    noise: float | None
    """Standard deviation of one observation."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What there is to say of an experiment's model."""

    metrics: list[Judged]
    why: str
    """Why there is no present model; empty where there is one."""
    hints: list[str]


@click.command()
@common.name_argument
@common.storage_option
@common.json_option
def diagnose(name: str | None, storage: str | None, as_json: bool) -> None:
    """Say how far the model's predictions can be trusted.

    For each metric of the objectives and constraints: what was predicted of arms when they were
    proposed against what was observed of them later, and what the present model predicts of each
    arm from all the others (leave-one-out). Then the noise, and hints: parameters at their bounds,
    failures, metrics that do not vary, constraints that most arms break.
    """
    store, experiment = common.find(storage, name)
    found = _diagnosis(store, experiment)
    definition = experiment.definition
    if as_json:
        common.print_json(_view(definition, found))
    else:
        click.echo("\n".join(_lines(definition, found)))


def _diagnosis(store: Store, experiment: Experiment) -> Diagnosis:
    state = store.peek(experiment)
    runs = read.generator_runs(store, experiment.id)
    arms = list(proposed(read.trials(store, experiment.id), runs))
    noise: Mapping[str, float] = {}
    left_out: dict[str, Calibration | None] = {}
    why = ""
    try:
        model = learned(state, store.measured(experiment.id))
        noise = model.noise()
        rows = model.leave_one_out()
        left_out = {m: calibration([Foretold(*row) for row in found]) for m, found in rows.items()}
    except GenerationError as error:
        why = str(error)
    foretold = _foretold(arms, noise)
    judged = [
        Judged(
            metric, calibration(foretold.get(metric, [])), left_out.get(metric), noise.get(metric)
        )
        for metric in _metrics(state.definition)
    ]
    return Diagnosis(judged, why, hints(state.definition, arms, state.baseline))


def _metrics(definition: ExperimentDefinition) -> list[str]:
    """Return the metrics of objectives, then those that are only constrained."""
    used = [m for o in definition.all_objectives for m in o.weights]
    return list(dict.fromkeys([*used, *(c.metric for c in definition.outcome_constraints)]))


def _foretold(arms: Iterable[Proposed], noise: Mapping[str, float]) -> dict[str, list[Foretold]]:
    """Return what was predicted and then observed, by metric.

    A prediction is of an arm's true mean; the noise of the observation is added to its doubt: its
    own standard error, or else what the present model takes for the noise.
    """
    found: dict[str, list[Foretold]] = {}
    for each in arms:
        for metric, said in each.prediction.items():
            seen = each.metrics.get(metric)
            if seen is not None:
                error = noise.get(metric, 0.0) if seen.sem is None else seen.sem
                sd = math.hypot(said["sem"], error)
                found.setdefault(metric, []).append(Foretold(seen.mean, said["mean"], sd))
    return found


def _view(definition: ExperimentDefinition, found: Diagnosis) -> views.View:
    return {
        "experiment": definition.name,
        "metrics": {
            each.metric: {
                "noise": views.finite(each.noise),
                "predicted_then_observed": _calibration_view(each.foretold),
                "leave_one_out": _calibration_view(each.left_out),
            }
            for each in found.metrics
        },
        "no_model": found.why,
        "hints": found.hints,
    }


def _calibration_view(found: Calibration | None) -> views.View:
    if found is None:
        return {"count": 0, "verdict": verdict(None)}
    coverage = {str(level): share for level, share in found.coverage.items()}
    return {**asdict(found), "coverage": coverage, "verdict": verdict(found)}


def _lines(definition: ExperimentDefinition, found: Diagnosis) -> Iterator[str]:
    yield f"the model of {definition.name}" + (
        f": there is none: {found.why}" if found.why else ""
    )
    for each in found.metrics:
        noise = "" if each.noise is None else f", noise ± {each.noise:.2g} an observation"
        yield f"{each.metric}{noise}"
        yield from _judged("predicted, then observed", each.foretold)
        if not found.why:
            yield from _judged("leave-one-out", each.left_out)
            if not predicts(each.left_out):
                yield "    it predicts hardly better than the mean of all arms would"
    yield from (f"hint: {hint}" for hint in found.hints)


def _judged(title: str, found: Calibration | None) -> Iterator[str]:
    yield f"  {title}: {verdict(found)}"
    if found is None:
        return
    levels = ", ".join(str(level) for level in found.coverage)
    held = ", ".join(f"{100 * share:.0f}" for share in found.coverage.values())
    parts = [
        f"intervals of {levels} % held {held} % of {found.count}",
        f"mean error {found.bias:+.2f} sd, typical size {found.spread:.2f} (1 is right)",
        *(_figure("rank correlation", found.rank_correlation)),
        *(_figure("R²", found.r_squared)),
    ]
    yield f"    {'; '.join(parts)}"


def _figure(name: str, value: float | None) -> Iterator[str]:
    if value is not None:
        yield f"{name} {text.number(round(value, 2))}"
