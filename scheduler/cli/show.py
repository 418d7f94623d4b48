"""The verbs that show what is stored: status, trials, trial, events."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import click

from scheduler.cli import common, text, views
from scheduler.cli.summary import best_lines, best_outcomes, counts
from scheduler.jobs import tasks_of
from scheduler.log import words
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Event, ExperimentState, ExperimentStatus
from scheduler.model.trial import Trial, TrialStatus
from scheduler.storage import read
from scheduler.storage.overview import Standing, count_experiments, standings
from scheduler.storage.store import Experiment, Store

LISTED = 20
"""Lines of a kind that ``status`` prints; the others are counted."""


@click.command()
@common.name_argument
@common.page_options
@common.storage_option
@common.json_option
def status(name: str | None, page: common.Page, storage: str | None, as_json: bool) -> None:
    """Show how experiments stand.

    The one called NAME, or the only one: its status and why it stopped, its trials and what the
    unfinished ones wait for, the best arm so far, who drives it, and trouble if there is any. Of
    several a line each.
    """
    if name:
        if page != common.Page(0, None, None):
            raise click.UsageError("--limit, --offset and --last go without NAME")
        store, experiment = common.find(storage, name)
        _show(store, experiment, as_json)
        return
    store = common.opened(common.storage_url(storage))
    offset = page.start(lambda: count_experiments(store))
    found = standings(store, offset=offset, limit=page.limit)
    if as_json:
        common.print_json(list(map(views.standing_view, found)))
    elif len(found) == 1 and (only := store.find(found[0].name)):
        _show(store, only, as_json)
    elif found:
        text.print_table(*_standing_table(found))
    else:
        click.echo(f"{store.url} holds no experiment{' there' if offset else ''}")


@click.command()
@common.name_argument
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([s.value for s in TrialStatus], case_sensitive=False),
    help="Only these; may be given several times.",
)
@common.page_options
@common.storage_option
@common.json_option
def trials(
    name: str | None,
    statuses: tuple[str, ...],
    page: common.Page,
    storage: str | None,
    as_json: bool,
) -> None:
    """List an experiment's trials.

    One line for each arm: its trial, where that stands, what was measured, its parameters.
    """
    store, experiment = common.find(storage, name)
    wanted = [TrialStatus(each.upper()) for each in statuses]
    offset = page.start(lambda: read.count_trials(store, experiment.id, wanted))
    found = read.trials(store, experiment.id, wanted, offset=offset, limit=page.limit)
    if as_json:
        common.print_json_list(map(views.trial_view, found))
    else:
        text.print_table(*_trial_table(experiment.definition, found))


@click.command()
@common.trial_argument
@common.storage_option
@common.json_option
def trial(index: int, experiment: str | None, storage: str | None, as_json: bool) -> None:
    """Show one trial in full.

    Its arms with what was measured of them, its job and its folders, how its arms were chosen,
    its curves and its events.
    """
    found = common.find_trial(storage, experiment, index)
    if as_json:
        common.print_json(_whole_trial(found))
    else:
        click.echo("\n".join(_trial_lines(found)))


@click.command()
@common.name_argument
@click.option("--trial", "index", type=click.IntRange(0, common.LARGEST), help="Only of this one.")
@common.page_options
@common.storage_option
@common.json_option
def events(
    name: str | None,
    index: int | None,
    page: common.Page,
    storage: str | None,
    as_json: bool,
) -> None:
    """Show what happened, oldest first."""
    store, experiment = common.find(storage, name)
    offset = page.start(lambda: read.count_events(store, experiment.id, index))
    found = read.events(store, experiment.id, index, offset=offset, limit=page.limit)
    if as_json:
        common.print_json_list(map(views.event_view, found))
        return
    for event in found:
        click.echo(_event_line(event))


def _show(store: Store, experiment: Experiment, as_json: bool) -> None:
    if as_json:
        common.print_json(_status_view(store, experiment))
    else:
        click.echo("\n".join(_status_lines(store, experiment)))


def _standing_table(found: list[Standing]) -> tuple[list[str], Iterator[list[str]]]:
    """Return the header and the rows: a line for each experiment."""
    header = ["experiment", "status", "trials", "pending", "failed", "note"]
    pending, failed = (TrialStatus.STAGED, TrialStatus.RUNNING), (TrialStatus.FAILED,)
    return header, (
        [
            *(s.name, "PAUSED" if s.paused and not s.stop else s.status.value),
            f"{sum(s.trials.values())} of {s.total_trials}",
            *(str(sum(s.trials.get(each, 0) for each in kind)) for kind in (pending, failed)),
            _standing_note(s),
        ]
        for s in found
    )


def _standing_note(s: Standing) -> str:
    """Return what is worth knowing first: trouble, why it stopped, or that nobody drives it."""
    if s.trouble:
        return text.one_line(words(s.trouble))
    if s.stop:
        return text.one_line(f"stopped by {s.stop.criterion}: {s.stop.message}")
    running = s.status is ExperimentStatus.RUNNING
    return "nobody drives it" if running and not s.driver else ""


def _status_view(store: Store, experiment: Experiment) -> views.View:
    state = store.peek(experiment)
    around = read.surroundings(store, experiment.id)
    driven, now = store.is_driven(experiment.definition.name), time.time()
    pending = [
        {
            "index": t.index,
            "status": t.status.value,
            "attempt": t.attempt,
            "job_id": t.job_id,
            "job_state": t.job_state,
            "awaits": text.awaits(t, now),
        }
        for t in _active(state)
    ]
    return {
        **views.experiment_view(state, around, driven),
        "pending": pending,
        "best": _best_views(store, experiment, state),
        "trials_dir": str(experiment.trials_dir),
    }


def _status_lines(store: Store, experiment: Experiment) -> Iterator[str]:
    state = store.peek(experiment)
    around = read.surroundings(store, experiment.id)
    name, options = state.definition.name, state.definition.trials
    total = f"of at most {options.total_trials}"
    yield f"{click.style(name, bold=True)}  {state.status}  {counts(state)} {total}"
    if state.paused:
        yield f"  paused: nothing new is deployed until schedd unpause {name}"
    if state.stop:
        yield f"  stopped by {state.stop.criterion}: {text.one_line(state.stop.message)}"
    yield from _at_most(best_lines(state), f"schedd best {name}")
    if store.is_driven(name):
        yield f"  driven by {around.driver}"
    elif state.status is ExperimentStatus.RUNNING:
        words = common.storage_words(store)
        yield f"  nobody drives it; go on with: schedd resume {name}{words}"
    if event := around.trouble or around.last:
        yield f"  {'trouble' if around.trouble else 'last event'}: {_event_line(event)}"
    if around.asked:
        yield f"  asked and not done yet: {', '.join(around.asked)}"
    now = time.time()
    waiting = [f"trial {t.index}  {t.status}  {text.awaits(t, now)}" for t in _active(state)]
    yield from _at_most(waiting, f"schedd trials {name}")


def _active(state: ExperimentState) -> Iterable[Trial]:
    """Return unfinished trials, those first that have got furthest."""
    order = [TrialStatus.RUNNING, TrialStatus.STAGED, TrialStatus.CANDIDATE]
    return sorted(state.active.values(), key=lambda t: (order.index(t.status), t.index))


def _at_most(lines: list[str], more: str) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:LISTED])
    if lines[LISTED:]:
        yield f"  and {len(lines) - LISTED} more: {more}"


def _trial_table(
    definition: ExperimentDefinition, records: Iterable[read.TrialRecord]
) -> tuple[list[str], Iterator[list[str]]]:
    """Return the header and the rows; a fixed parameter is the same in all, so it is left out."""
    metrics = list(definition.metric_specs)
    names = [p.name for p in definition.parameters if p.type != "fixed"]
    header = ["trial", "status", "attempt", "arm", *metrics, *names, "note"]
    return header, (
        [
            *(str(r.trial.index), r.trial.status.value, str(r.trial.attempt), arm.name),
            *(text.measured(r.metrics.get(arm.name, {}).get(metric)) for metric in metrics),
            *(text.scalar(arm.parameters.get(name)) for name in names),
            text.note(r.trial),
        ]
        for r in records
        for arm in r.trial.arms
    )


def _whole_trial(found: common.Found) -> views.View:
    store, experiment, record = found.store, found.experiment, found.record
    t = record.trial
    run = None
    if t.generator_run is not None:
        run = read.generator_run(store, experiment.id, t.generator_run)
    places = tasks_of(experiment.definition, t, experiment.trials_dir)
    return {
        "experiment": experiment.definition.name,
        **views.trial_view(record),
        "not_before": views.moment(t.not_before or None),
        "wish": asdict(t.wish) if t.wish else None,
        "retries": dict(t.retries),
        "directories": [str(place.directory) for place in places],
        "generator_run": views.generator_run_view(run) if run else None,
        "curves": views.curve_view(read.curves(store, record, experiment.id)),
        "events": [views.event_view(e) for e in read.events(store, experiment.id, t.index)],
    }


def _trial_lines(found: common.Found) -> Iterator[str]:
    store, experiment, record = found.store, found.experiment, found.record
    t = record.trial
    name = experiment.definition.name
    yield f"trial {t.index} of {name}: {t.status}, attempt {t.attempt}"
    if t.status.is_final:
        yield from (f"  {line}" for line in [text.note(t)] if line)
    else:
        yield f"  {text.awaits(t, time.time())}"
    for arm in t.arms:
        weight = "" if arm.weight == 1 else f" (weight {arm.weight:.4g})"
        yield f"  arm {arm.name}{weight}: {text.parameters(arm.parameters)}"
        for metric, o in record.metrics.get(arm.name, {}).items():
            yield f"    {metric} = {text.measured(o)}"
    yield f"  arms by {record.generator or 'a person'}"
    ended = "" if t.exit_code is None else f", exit status {t.exit_code}"
    yield f"  job {t.job_id or '-'}: {t.job_state or 'not submitted'}{ended}"
    for place in tasks_of(experiment.definition, t, experiment.trials_dir):
        yield f"  {place.directory}"
    for curve in views.curve_view(read.curves(store, record, experiment.id)):
        last = curve["points"][-1]
        yield (
            f"  curve of {curve['metric']}, arm {curve['arm']}: {len(curve['points'])} points, "
            f"the last {last['mean']:.6g} at {last['step']:g}"
        )
    yield from (f"  {_event_line(e)}" for e in read.events(store, experiment.id, t.index))


def _best_views(store: Store, experiment: Experiment, state: ExperimentState) -> list[views.View]:
    """Return the best arm, or the Pareto front, by what was observed."""
    found = []
    for outcome in best_outcomes(state):
        record = read.trial(store, experiment.id, outcome.trial_index)
        assert record is not None
        arm = next(a for a in record.trial.arms if a.name == outcome.arm_name)
        metrics = record.metrics.get(arm.name, {})
        found.append({"trial_index": outcome.trial_index, **views.arm_view(arm, metrics)})
    return found


def _event_line(event: Event) -> str:
    return f"{text.local(event.time)} {text.one_line(words(event))}"
