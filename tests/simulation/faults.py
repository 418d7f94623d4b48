"""Chance, faults and time of one history; all of it follows from the seed."""

import random
from collections.abc import Sequence

RATES = (0.02, 0.1, 0.3)
FAULTS = (
    "crash",
    "commit_fails",
    "commit_answer_lost",
    "read_fails",
    "submit_answer_lost",
    "submit_dropped",
    "submit_rejected",
    "submit_breaks",
    "submit_unanswered",
    "stored_fails",
    "stored_answer_lost",
    "ack_then_forget",
    "poll_fails",
    "poll_omits",
    "poll_stale",
    "poll_garbage",
    "appears_late",
    "cancel_fails",
    "cancel_lost",
    "cancel_slow",
    "exit_code",
    "oom",
    "node_fail",
    "preempted",
    "requeued",
    "vanishes",
    "metrics_late",
    "metrics_never",
    "metrics_invalid",
    "metrics_nan",
    "fetch_fails",
    "generation_fails",
    "generation_slow",
    "restart",
    "takeover",
    "command_stop",
    "command_abandon",
    "command_retry",
    "command_drain",
    "command_pause",
    "command_unpause",
    "command_set",
    "command_add-arm",
    "budget",
    "renewal_fails",
    "disk_low",
)
RARE = {"command_stop": 0.1, "command_drain": 0.1, "crash": 0.3, "budget": 0.5}
"""Factors for what would otherwise leave little to look at."""
OFTEN = {"looked_before": 3.0}
"""Factors for what does harm only together with other faults."""
FACTORS = RARE | OFTEN


class Crash(BaseException):
    """The process is gone. No ``except Exception`` sees it."""


class Violation(BaseException):
    """What was promised does not hold. No ``except Exception`` sees it."""


class Chance:
    """Draws everything that a history leaves open. Swarm: each history has some of the faults."""

    def __init__(
        self,
        seed: int,
        without: frozenset[str] = frozenset(),
        crash_at: frozenset[int] = frozenset(),
        faults: Sequence[str] = FAULTS,
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.quiet = False
        """Whether faults have stopped for good."""
        self.now = 1_000_000.0
        self.struck: dict[str, int] = {}
        self.crash_at = crash_at
        self.points = 0
        """How many places there were so far at which a process may die."""
        self.rates = {
            fault: self.rng.choice(RATES) * FACTORS.get(fault, 1.0) * (self.rng.random() < 0.4)
            for fault in faults
        }
        self.rates.update(dict.fromkeys(without, 0.0))

    def strikes(self, fault: str) -> bool:
        """Whether the fault happens here."""
        rate = self.rates[fault]
        if self.quiet or not rate or self.rng.random() >= rate:
            return False
        self.struck[fault] = self.struck.get(fault, 0) + 1
        return True

    def point(self) -> None:
        """Die here, perhaps."""
        self.points += 1
        if self.points in self.crash_at or self.strikes("crash"):
            raise Crash

    def of(self, name: str) -> random.Random:
        """Return draws that depend on the seed and a name alone, not on what came before."""
        return random.Random(f"{self.seed}/{name}")
