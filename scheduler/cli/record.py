"""The verb that trials call, often: it imports next to nothing."""

import os

import click

from metrics.record import record as append
from scheduler.cli.refused import Refused


@click.command()
@click.argument("values", metavar="METRIC=VALUE...", nargs=-1, required=True)
@click.option("--step", type=float, help="Where on the curve they lie, such as an epoch.")
def record(values: tuple[str, ...], step: float | None) -> None:
    """Inside a trial: record values of metrics.

    Appends one line to metrics.jsonl in the trial's folder, which the fetcher jsonl reads:
    schedd record loss=0.1 accuracy=0.9 --step 3
    """
    if not os.environ.get("SCHEDD_TRIAL_DIR"):
        raise Refused("record is for commands of a trial; SCHEDD_TRIAL_DIR is not set here")
    found: dict[str, float] = {}
    for text in values:
        name, value = _parsed(text)
        if name in found:
            raise Refused(f"{name!r} is given twice")
        found[name] = value
    try:
        append(found, step)
    except ValueError as error:
        raise Refused(f"nothing was recorded: {error}") from None
    except OSError as error:
        what = error.strerror or error
        raise Refused(f"nothing was recorded in {error.filename or 'the file'}: {what}") from None


def _parsed(text: str) -> tuple[str, float]:
    name, sign, value = text.rpartition("=")
    if not sign or not name:
        raise Refused(f"{text!r} is not METRIC=VALUE, for example loss=0.1")
    try:
        return name, float(value)
    except ValueError:
        raise Refused(f"{value!r} in {text!r} is not a number") from None
