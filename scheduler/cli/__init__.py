"""The command line. A verb is imported when it is called, so that --help answers at once."""

import os
import sys
from importlib import import_module

import click

INTERRUPTED = 130
READER_GONE = 141

VERBS = {
    "run": ("scheduler.cli.drive", "Run an experiment to its end, or go on with it."),
    "resume": ("scheduler.cli.drive", "Go on with a stored experiment."),
    "daemon": ("scheduler.cli.daemon", "Drive every experiment in the store."),
    "submit": ("scheduler.cli.daemon", "Store an experiment for a daemon to drive."),
    "tick": ("scheduler.cli.drive", "Do what is due now and leave: for cron."),
    "validate": ("scheduler.cli.define", "Check an experiment's file; change nothing."),
    "schema": ("scheduler.cli.define", "Print the JSON Schema of an experiment's file."),
    "init": ("scheduler.cli.define", "Write a commented file to start from."),
    "plan": ("scheduler.cli.define", "Print what would be deployed; deploy nothing."),
    "status": ("scheduler.cli.show", "Show how experiments stand."),
    "trials": ("scheduler.cli.show", "List an experiment's trials."),
    "trial": ("scheduler.cli.show", "Show one trial in full."),
    "explain": ("scheduler.cli.explain", "Say why a trial was proposed."),
    "best": ("scheduler.cli.best", "Show the best arm found so far."),
    "pareto": ("scheduler.cli.best", "Show the Pareto front of several objectives."),
    "diagnose": ("scheduler.cli.diagnose", "Say how far the model's predictions can be trusted."),
    "events": ("scheduler.cli.show", "Show what happened, oldest first."),
    "logs": ("scheduler.cli.logs", "Print what a trial has written."),
    "stop": ("scheduler.cli.control", "End an experiment; cancel what runs."),
    "pause": ("scheduler.cli.steer", "Deploy and propose nothing new."),
    "unpause": ("scheduler.cli.steer", "Let a paused experiment go on."),
    "drain": ("scheduler.cli.steer", "End an experiment once its running trials have ended."),
    "set": ("scheduler.cli.steer", "Change an experiment's budget while it runs."),
    "add-arm": ("scheduler.cli.steer", "Add a trial of an arm that you choose."),
    "diff": ("scheduler.cli.steer", "Show how a file differs from the stored experiment."),
    "abandon": ("scheduler.cli.control", "Give up trials."),
    "release": ("scheduler.cli.control", "Let trials start whose jobs are held."),
    "retry": ("scheduler.cli.control", "Send failed or abandoned trials back for a new attempt."),
    "next": ("scheduler.cli.external", "Take the next trial of an external experiment."),
    "complete": ("scheduler.cli.external", "Report the result of an external trial."),
    "fail": ("scheduler.cli.external", "Report that an external trial has failed."),
    "record": ("scheduler.cli.record", "Inside a trial: record values of metrics."),
    "serve": ("scheduler.cli.serve", "Let programs ask for trials over HTTP."),
    "db": ("scheduler.cli.db", "Check, copy or upgrade the database itself."),
    "install-service": (
        "scheduler.cli.install",
        "Run schedd as a service of systemd: write its units.",
    ),
    "export": ("scheduler.cli.transfer", "Write all that is stored of an experiment."),
    "import": (
        "scheduler.cli.translate",
        "Bring an experiment here: exported, or another tool's.",
    ),
    "delete": (
        "scheduler.cli.remove",
        "Remove an experiment, its history and its trials' folders.",
    ),
    "gc": ("scheduler.cli.remove", "Free the disk of what is not needed any more."),
    "doctor": ("scheduler.cli.doctor", "Check this machine, and say what will work."),
}


class Verbs(click.Group):
    """A group that knows its verbs by name and imports each on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which they are used."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a verb."""
        if cmd_name not in VERBS:
            return None
        module = import_module(VERBS[cmd_name][0])
        name = cmd_name.replace("-", "_")
        found: click.Command = getattr(module, name, None) or getattr(module, f"{name}_")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs with one line each, importing none of them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])

    def invoke(self, ctx: click.Context) -> None:
        """Run a verb; leave quietly where whoever reads its output has seen enough."""
        try:
            super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the flush at exit
            ctx.exit(READER_GONE)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a verb; say which one was perhaps meant."""
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, VERBS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; see schedd --help"
            raise click.UsageError(f"there is no verb {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="schedd", prog_name="schedd")
def cli() -> None:
    """Tune anything that runs from a command line: closed-loop experiments from one YAML file.

    Trials are proposed, deployed, watched and learned from until a criterion says stop, through
    crashes, without losing or repeating one.
    """


def main() -> None:
    """Run the command line; turn errors of a user into one sentence and an exit status."""
    try:
        status = cli(prog_name="schedd", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except Exception as error:
        from scheduler.cli.errors import report

        status = report(error)
    sys.exit(status)
