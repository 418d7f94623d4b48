"""Jobs of attempts that are over, made by requests that took effect late. Pure.

A request to make a job may be carried out long after nobody waits for it any more: its attempt
was given up meanwhile. The name of a job is never used again, so that a job of an attempt that
is stored as over is wanted by nobody, whatever it does.
"""

import re
from collections.abc import Iterable, Mapping

from scheduler.model.trial import Trial

_NUMBERS = re.compile(r"-t(\d{1,9})-a(\d{1,9})")


def suspected(
    names: Iterable[str], active: Mapping[int, Trial], created: int
) -> list[tuple[int, int]]:
    """Return (trial, attempt) of jobs of one experiment that no trial in ``active`` waits for.

    ``created``: how many trials there are; of jobs of others nothing is known.
    """
    found = []
    for name in names:
        numbers = _NUMBERS.search(name)
        if numbers is None:
            continue
        index, attempt = int(numbers[1]), int(numbers[2])
        ended = index < created and index not in active
        if ended or (index in active and attempt < active[index].attempt):
            found.append((index, attempt))
    return found


def over(numbers: Iterable[tuple[int, int]], stored: Mapping[int, Trial]) -> tuple[Trial, ...]:
    """Return the attempts that are over as they are ``stored``, without the ids of their jobs.

    Of what is not stored yet, or not any more, nothing is known: a database may have been
    restored, or be another's copy.
    """
    return tuple(
        stored[index].having(attempt=attempt, job_id=None)
        for index, attempt in numbers
        if index in stored and _is_over(stored[index], attempt)
    )


def _is_over(trial: Trial, attempt: int) -> bool:
    return attempt < trial.attempt or (attempt == trial.attempt and trial.status.is_final)
