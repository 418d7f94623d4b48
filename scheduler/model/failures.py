"""What a failed attempt leads to: budgets of retries, back-off, and rules on what it wrote."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from scheduler.model.base import Duration, Model, Problem
from scheduler.model.sound import repeated


class Retries(Model):
    """Attempts that may follow a failure, by its kind; each kind has a budget of its own."""

    infra: int = Field(default=5, ge=0)
    preempted: int = Field(default=20, ge=0)
    timeout: int = Field(default=0, ge=0)
    oom: int = Field(default=0, ge=0)
    error: int = Field(default=0, ge=0)


class Backoff(Model):
    """How long a retry waits: ``initial * factor ** n``, at most ``max``."""

    initial: Duration = 10.0
    factor: float = Field(default=2.0, ge=1)
    max: Duration = 1800.0

    def delay(self, retries: int) -> float:
        """Return the seconds before retry number ``retries`` (from 0)."""
        return min(self.max, self.initial * self.factor ** min(retries, 64))


class LogPolicy(Model):
    """What follows where a failed attempt has written a line that ``pattern`` is found in."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
    pattern: str = Field(min_length=1, max_length=1000)
    action: Literal["retry", "exclude_node", "abandon", "fail"]

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return pattern

    @property
    def reason(self) -> str:
        """The reason of a trial that this policy decided on."""
        return f"{LOG_POLICY}{self.name}"


LOG_POLICY = "LOG_POLICY:"
"""What the reason begins with where a policy decided; its name follows."""


class Failures(Model):
    """What a failed attempt leads to, and when failures end the experiment."""

    tolerated_trial_failure_rate: float = Field(default=0.5, ge=0, le=1)
    min_failed_trials_for_failure_rate_check: int = Field(default=5, ge=1)
    retries: Retries = Retries()
    backoff: Backoff = Backoff()
    log_policies: tuple[LogPolicy, ...] = ()
    """Tried in order; the first whose pattern is found decides."""


def problems_of(failures: Failures) -> list[Problem]:
    """Return what is wrong with policies that are sound one by one."""
    return [
        (("log_policies", i, "name"), f"there are two log policies called {name!r}")
        for i, name in repeated(policy.name for policy in failures.log_policies)
    ]
