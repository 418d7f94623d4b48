"""Who is told of what, as a user defines it. Secrets are named, never written down."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from scheduler.model.base import Duration, Model

Topic = Literal["new_best", "trial_failed", "stalled", "moving_again", "stopped", "completed"]


class Notification(Model):
    """One receiver, and the events that it is told of."""

    events: tuple[Topic, ...] = Field(min_length=1)
    type: Literal["webhook", "command"]
    url_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """The environment variable, of whoever drives, that holds the webhook's URL."""
    url_file: str | None = Field(default=None, min_length=1)
    """The file that holds it."""
    command: tuple[str, ...] = ()
    """Gets the event as JSON on its standard input."""
    timeout: Duration = Field(default=10.0, gt=0, le=600)
    """Of one request, or of the command."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        urls = [url for url in (self.url_env, self.url_file) if url is not None]
        if self.type == "webhook" and (len(urls) != 1 or self.command):
            raise ValueError("a webhook has either url_env or url_file, and no command")
        if self.type == "command" and (not self.command or urls):
            raise ValueError("a notification of type command has a command, and no URL")
        return self
