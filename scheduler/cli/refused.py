"""A request that makes no sense as things stand: one sentence, exit status 2."""

from typing import IO, Any

import click


class Refused(click.ClickException):
    """Nothing was done; the message says why."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence."""
        click.echo(f"schedd: {self.message}", file=file, err=True)
