"""Slots of one runner, shared out among the experiments that one process drives."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scheduler.model.experiment import ExperimentState
from scheduler.model.trial import TrialStatus


@dataclass(frozen=True, slots=True)
class Demand:
    """What one experiment has and wants, in unfinished jobs."""

    priority: int
    used: int
    wanted: int
    """In all, those it has included."""


def demand_of(state: ExperimentState) -> Demand:
    """Return what an experiment has and wants now."""
    options = state.definition.trials
    pending = [t for t in state.active.values() if t.status.is_pending]
    used = sum(t.ended_at is None for t in pending)
    waiting = sum(t.status is TrialStatus.CANDIDATE for t in state.active.values())
    still = 0 if state.stop else max(0, options.total_trials - state.tally.created)
    more = min(options.max_pending_trials - len(pending), waiting + still)
    return Demand(options.priority, used, used if state.paused else used + max(0, more))


def shares(cap: int, demands: Mapping[str, Demand]) -> dict[str, int]:
    """Return how many unfinished jobs each experiment may have; the sum is at most ``cap``.

    Higher priorities are served first. Among equals the smallest share grows until it has what it
    wants (max-min fairness). What runs already is not taken into account: it ends, and is not
    followed by more than the share.
    """
    left, found = cap, dict.fromkeys(demands, 0)
    for priority in sorted({d.priority for d in demands.values()}, reverse=True):
        level = sorted(
            (name for name, d in demands.items() if d.priority == priority),
            key=lambda name: (demands[name].wanted, name),
        )
        for position, name in enumerate(level):
            # Those to come want at least as much: an even split of what is left is theirs.
            found[name] = min(demands[name].wanted, -(-left // (len(level) - position)))
            left -= found[name]
    return found


class Slots:
    """The slots of each runner with a cap; asked by every tick, from any thread."""

    def __init__(
        self, caps: Mapping[str, int], ring: Callable[[str], None] = lambda _: None
    ) -> None:
        """Share out nothing yet.

        ``caps``: unfinished jobs, at most, by type of runner; ``ring``: called with the name of an
        experiment that may have more now than it was allowed.
        """
        self._ring = ring
        self._caps = caps
        self._lock = threading.Lock()
        self._demands: dict[str, dict[str, Demand]] = {runner: {} for runner in caps}
        self._held: dict[str, dict[str, int]] = {runner: {} for runner in caps}
        """What each experiment may have until it asks again."""

    def allowed(self, state: ExperimentState) -> int | None:
        """Return how many unfinished jobs the experiment may have; ``None``: as many as wanted.

        Never more than leave all the others what they were allowed, or have.
        """
        runner, name = state.definition.runner.type, state.definition.name
        if runner not in self._caps:
            return None
        with self._lock:
            demands, held = self._demands[runner], self._held[runner]
            demands[name] = demand = demand_of(state)
            others = sum(count for other, count in held.items() if other != name)
            share = min(shares(self._caps[runner], demands)[name], self._caps[runner] - others)
            before, held[name] = held.get(name, 0), max(demand.used, min(share, demand.wanted))
            waiting = [o for o, d in demands.items() if o != name and d.wanted > held[o]]
        if held[name] < before:
            for other in waiting:
                self._ring(other)
        return max(0, share)

    def forget(self, name: str) -> None:
        """Give back what an experiment had that is not driven here any more."""
        with self._lock:
            for runner in self._caps:
                self._demands[runner].pop(name, None)
                self._held[runner].pop(name, None)
