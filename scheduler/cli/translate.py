"""The verb import: an experiment of another tool's becomes files, one of ours is stored."""

from pathlib import Path

import click

from scheduler.cli import common
from scheduler.cli.refused import Refused
from scheduler.cli.transfer import aside, stored
from scheduler.model.base import without_password

FORMATS = ("ax", "optuna", "katib", "wandb", "nni", "schedd")


@click.command("import")
@click.argument("source", metavar="FILE|URL")
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="Whose it is; by default told from what it holds.",
)
@click.option("--study", metavar="NAME", help="Which study, where Optuna's storage holds several.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="The YAML to write, by default experiment.yaml; it must not exist.",
)
@common.storage_option
def import_(
    source: str, kind: str | None, study: str | None, output: Path | None, storage: str | None
) -> None:
    """Bring an experiment here: exported, or another tool's.

    Of another tool's, a YAML is written, and beside it a table of what was measured, from which
    the experiment begins: a snapshot of Ax's Client or AxClient, a study in Optuna's database (its
    file or its URL), an Experiment of Katib's, a sweep of wandb's or a configuration of NNI's.
    What does not carry over is listed. Nothing that exists is overwritten.

    What schedd export wrote is stored, unless there is an experiment of its name, or the file is
    not whole. Jobs that run are adopted by whoever drives it here: let nobody drive it in the
    store it came from any more.
    """
    from scheduler.translate.recognize import format_of

    kind = kind or format_of(source)
    if study is not None and kind != "optuna":
        raise click.UsageError("--study goes with a storage of Optuna's")
    if kind == "schedd":
        if output is not None:
            raise click.UsageError("-o goes with files of other tools; an export is stored")
        stored(Path(source), storage)
        return
    if storage is not None:
        raise click.UsageError("--storage goes with what schedd export wrote")
    _write(source, kind, study, output or Path("experiment.yaml"))


def _write(source: str, kind: str, study: str | None, output: Path) -> None:
    from scheduler.translate.assemble import assemble
    from scheduler.translate.history import counted
    from scheduler.translate.optuna_rdb import NoStudy
    from scheduler.translate.recognize import translate
    from scheduler.translate.write import printable

    if output.suffix not in (".yaml", ".yml"):
        raise Refused(f"{output} should end in .yaml")
    history = output.with_name(f"{output.stem}.history.csv")
    shown = without_password(source)
    try:
        found = translate(source, kind, study)
    except NoStudy as error:
        raise Refused(str(error)) from None
    made = assemble(found, shown, output, history)
    for path in (output, history):
        if path.exists() or path.is_symlink():
            raise Refused(f"{path} exists already; nothing was written")
    text, rows = made.text, made.history
    if rows is not None:
        aside(history, lambda file: file.write(rows))
    aside(output, lambda file: file.write(text))
    also = "" if rows is None else f", and {counted(made.arms)} to {history}"
    click.echo(f"wrote {found.source} to {output}{also}")
    if made.lost:
        click.echo("did not carry over:")
    for lost in made.lost:
        click.echo(f"  {printable(str(lost))}")
