"""How a run goes, as it goes: a bar on a terminal, plain lines otherwise."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import dropwhile, takewhile
from typing import TextIO

from scheduler import log
from scheduler.model.best import best_outcome
from scheduler.model.experiment import Event, ExperimentState
from scheduler.model.observation import Outcome
from scheduler.model.trial import TrialStatus
from scheduler.throttle import Throttle

QUIET = frozenset({"trial_candidate", "trial_staged", "trial_running"})
"""Events that come with every trial; the bar and the counts show them."""


class Progress:
    """Logs each event that matters: a line in words, or JSON where ``SCHEDD_LOG`` is ``json``."""

    def __init__(self, name: str, stream: TextIO, *, among_others: bool = False) -> None:
        """``among_others``: lines in words begin with the experiment's name."""
        self._stream = stream
        as_json = os.environ.get("SCHEDD_LOG") == "json"
        prefix = f"{name} " if among_others and name else ""
        self._throttle = Throttle()
        self._log = log.logger(self.line, as_json=as_json, experiment=name, prefix=prefix)

    def watch(self, state: ExperimentState | None, events: tuple[Event, ...]) -> None:
        """Show what happened in one tick; ``None``: to an experiment that is not driven."""
        for event in events:
            if event.kind in QUIET:
                continue
            left_out = self._throttle.admit(log.same(event), event.kind)
            if left_out is not None:
                log.report(self._log, event, _metrics(state, event), left_out)

    def line(self, text: str) -> None:
        """Print one line. A full disk or a closed pipe behind the stream never ends a run."""
        with suppress(OSError):
            print(text, file=self._stream, flush=True)


class Best:
    """The best outcome so far; looks at each outcome once, unless the baseline changes."""

    def __init__(self) -> None:
        self._outcome: Outcome | None = None
        self._looked = 0
        self._baseline: Mapping[str, float] | None = None

    def words(self, state: ExperimentState) -> str:
        """Return it in words; empty where there is none to speak of."""
        if len(state.definition.all_objectives) > 1 or not state.outcomes:
            return ""
        baseline = state.baseline
        if self._baseline != baseline:
            self._outcome, self._looked, self._baseline = None, 0, baseline
        known = [self._outcome] if self._outcome else []
        new = state.outcomes[self._looked :]
        self._outcome = best_outcome(state.definition, [*known, *new], self._baseline)
        self._looked = len(state.outcomes)
        objective = state.definition.all_objectives[0]
        value = objective.value(self._outcome.means) if self._outcome else None
        if value is None:
            return "none feasible yet"
        return f"best observed {objective.name} = {value:.6g}"


class Bar(Progress):
    """A bar below the lines: trials done, running, failed, best so far, time left."""

    def __init__(self, state: ExperimentState) -> None:
        """Import rich here: only a terminal needs it."""
        super().__init__(state.definition.name, sys.stderr)
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}"),
            console=Console(stderr=True),
        )
        self._task = self._rich.add_task(
            state.definition.name, total=state.definition.trials.total_trials, counts=""
        )
        self._started = (state.seconds, _done(state))
        self._best = Best()

    def __enter__(self) -> "Bar":
        self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rich.stop()

    def watch(self, state: ExperimentState | None, events: tuple[Event, ...]) -> None:
        """Show lines above the bar, and bring the bar up to date."""
        super().watch(state, events)
        if state is None:
            return
        words = [f"{state.pending} running", f"{state.tally.count(TrialStatus.FAILED)} failed"]
        words += [text for text in (self._best.words(state), self._left(state)) if text]
        self._rich.update(self._task, completed=_done(state), counts=" · ".join(words))

    def line(self, text: str) -> None:
        """Print one line above the bar."""
        self._rich.console.print(text, markup=False, highlight=False)

    def _left(self, state: ExperimentState) -> str:
        """Return the time left if trials go on ending as fast as since this run began."""
        seconds, done = self._started
        ended = _done(state) - done
        if not ended:
            return ""
        remaining = state.definition.trials.total_trials - _done(state)
        left = timedelta(seconds=round((state.seconds - seconds) / ended * remaining))
        return f"{left} left"


@contextmanager
def progress(state: ExperimentState) -> Iterator[Progress]:
    """Show progress on standard error: a bar where it is a terminal, lines otherwise."""
    if not sys.stderr.isatty():
        yield Progress(state.definition.name, sys.stderr)
        return
    with Bar(state) as bar:
        yield bar


def _metrics(state: ExperimentState | None, event: Event) -> dict[str, float]:
    """Return the metrics of a trial that has just completed, of its first arm."""
    if state is None or event.kind != "trial_completed":
        return {}
    newest = dropwhile(lambda o: o.trial_index != event.trial_index, reversed(state.outcomes))
    arms = list(takewhile(lambda o: o.trial_index == event.trial_index, newest))
    return dict(arms[-1].means) if arms else {}


def _done(state: ExperimentState) -> int:
    return sum(state.tally.finished.values())
