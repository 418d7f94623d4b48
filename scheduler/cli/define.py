"""The verbs that need no run: validate, schema, init, plan."""

import re
from pathlib import Path

import click

from scheduler.cli import common, text, views
from scheduler.cli.refused import Refused
from scheduler.config.errors import ConfigError
from scheduler.jobs import unknown_program
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import ExperimentStatus
from scheduler.model.strategy import describe
from scheduler.model.trial import Trial
from scheduler.model.warm_start import NOTHING, Gathered
from scheduler.storage.read import TrialRecord

BAD_INPUT = 2


@click.command()
@click.argument("file", type=click.Path())
@click.option("--deep", is_flag=True, help="Propose one arm, and ask the backend about its trial.")
@common.storage_option
@common.json_option
@click.pass_context
def validate(
    ctx: click.Context, file: str, deep: bool, storage: str | None, as_json: bool
) -> None:
    """Check an experiment's file; change nothing.

    Exit status 2, and a line for each mistake with its place, where something is wrong. The
    sources of a warm start are read as well.
    """
    try:
        definition = common.load(file)
        url = common.storage_url(storage, definition)
        warm = _sources(definition, url)
    except ConfigError as error:
        if not as_json:
            raise
        common.print_json([_mistake_view(m.message, m.line, m.column) for m in error.mistakes])
        ctx.exit(BAD_INPUT)
    if deep:
        _try_out(definition, url)
    if as_json:
        common.print_json([])
        return
    click.echo(f"{file}: {_described(definition)}")
    _tell(warm)
    if unknown := unknown_program(definition):
        click.echo(f"{file}: {unknown}", err=True)


@click.command()
def schema() -> None:
    """Print the JSON Schema of an experiment's file.

    For editors: schedd schema > experiment.schema.json
    """
    from scheduler.config.schema import schema as json_schema

    common.print_json(json_schema())


@click.command()
@click.argument("file", type=click.Path(), default="experiment.yaml")
def init(file: str) -> None:
    """Write a commented file to start from.

    FILE, by default experiment.yaml, and train.py beside it, which stands in for the program to
    be tuned. Both work as they are; neither is ever overwritten.
    """
    from scheduler.cli.starter import EXPERIMENT, SCRIPT

    path = Path(file)
    if path.suffix not in (".yaml", ".yml"):
        raise Refused(f"{file} should end in .yaml")
    script = path.with_name("train.py")
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:40].strip("-") or "experiment"
    starter = EXPERIMENT.format(file=path.name, name=name, script=script.name)
    for each in (path, script):
        if each.exists() or each.is_symlink():
            raise Refused(f"{each} is there already; nothing was written")
    try:
        for each, content in ((script, SCRIPT), (path, starter)):
            with each.open("x", encoding="utf-8") as out:
                out.write(content)
    except OSError as error:
        raise Refused(f"{error.filename or path} cannot be written: {error.strerror}") from None
    click.echo(f"wrote {path} and {script}; next: schedd run {path}")


@click.command()
@click.argument("name", metavar="FILE|NAME")
@click.argument("count", metavar="[N]", type=click.IntRange(1, common.LARGEST), default=1)
@common.storage_option
@common.json_option
def plan(name: str, count: int, storage: str | None, as_json: bool) -> None:
    """Print what would be deployed; deploy nothing.

    The next N trials, by default one, as the runner would start them. Nothing is stored: what
    waits for its turn comes first, then what the generator proposes with all that is known now.
    """
    from scheduler.cli import forecast

    if name.endswith((".yaml", ".yml")):
        definition = common.load(name)
        outlook = forecast.of_definition(definition, common.storage_url(storage, definition))
    else:
        outlook = forecast.of_stored(*common.find(storage, name))
    _tell(outlook.warm)
    state = outlook.state
    ended = state.stop is not None or state.status is not ExperimentStatus.RUNNING
    trials = [] if ended else forecast.next_trials(outlook, count)
    shown = ((trial, forecast.rendered(outlook, trial)) for trial in trials)
    if as_json:
        common.print_json_list({**_planned_view(t), "rendered": script} for t, script in shown)
        return
    printed = False
    for trial, script in shown:
        if not printed:
            click.echo(f"# generation: {describe(state.definition)}\n")
        click.echo(_planned_text(trial, script))
        printed = True
    if not printed:
        why = "it has stopped" if ended else "every trial there may be has been made"
        click.echo(f"nothing would be deployed for {state.definition.name}: {why}", err=True)


def _sources(definition: ExperimentDefinition, url: str) -> Gathered:
    """Read what a new experiment would begin with; one that is stored reads nothing again."""
    from scheduler.cli import forecast

    return forecast.of_definition(definition, url).warm if definition.warm_start else NOTHING


def _tell(warm: Gathered) -> None:
    for message in warm.messages:
        click.echo(f"warm start: {message}", err=True)


def _try_out(definition: ExperimentDefinition, url: str) -> None:
    """Propose one arm, and ask the runner's backend about its trial. Raises Refused."""
    from scheduler.cli import forecast

    outlook = forecast.of_new(definition, url)
    trials = list(forecast.next_trials(outlook, outlook.state.tally.created + 1))
    if not trials:
        raise Refused("the search space holds no arm")
    forecast.examine(outlook, trials[-1])


def _described(d: ExperimentDefinition) -> str:
    objectives = ", ".join(
        f"{'minimize' if o.minimize else 'maximize'} {o.name}" for o in d.all_objectives
    )
    trials = f"at most {d.trials.total_trials} trials, {d.trials.max_pending_trials} at a time"
    strategy = describe(d)
    return f"ok: {d.name}: {len(d.parameters)} parameters; {objectives}; {trials}; {strategy}"


def _mistake_view(message: str, line: int | None, column: int | None) -> views.View:
    return {"line": line, "column": column, "message": message}


def _planned_view(trial: Trial) -> views.View:
    view = views.trial_view(TrialRecord(trial))
    return {key: view[key] for key in ("index", "attempt", "arms")}


def _planned_text(trial: Trial, script: str) -> str:
    arms = [f"#   arm {arm.name}: {text.parameters(arm.parameters)}" for arm in trial.arms]
    head = f"# trial {trial.index}, attempt {trial.attempt}"
    return "\n".join([head, *arms, script.rstrip("\n"), ""])
