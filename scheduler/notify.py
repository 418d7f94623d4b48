"""Tell people what happens, from threads of its own: a tick never waits for a receiver."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Full, Queue

from scheduler.deliver import Undelivered, deliver
from scheduler.log import words
from scheduler.model.best import best_outcome, pareto_front
from scheduler.model.experiment import Event, ExperimentState
from scheduler.model.notifications import Notification
from scheduler.model.observation import Outcome

KEPT = 1000
"""Messages that wait for one receiver; of more the newest are dropped."""
WAITS = (1.0, 4.0, 16.0)
"""Seconds before each further try."""
TOPICS = {
    "trial_failed": "trial_failed",
    "stalled": "stalled",
    "moving_again": "moving_again",
    "experiment_stopping": "stopped",
    "experiment_completed": "completed",
    "experiment_failed": "completed",
}
"""What the events of the history are called in ``notifications``."""


@dataclass(frozen=True, slots=True)
class News:
    """What happened to one experiment in one tick."""

    name: str
    state: ExperimentState
    events: tuple[Event, ...]


def messages(news: News, wanted: Iterable[str]) -> Iterator[dict[str, object]]:
    """Yield what is told of ``news``, of the topics that are wanted: text and fields. Pure."""
    for event in news.events:
        topic = TOPICS.get(event.kind, "")
        if topic in wanted:
            yield _message(news.name, topic, event, {})
    if "new_best" in wanted:
        for outcome in new_bests(news.state, news.events):
            values = ", ".join(f"{name} = {mean:.6g}" for name, mean in outcome.means.items())
            time = next(e.time for e in news.events if e.trial_index == outcome.trial_index)
            text = f"arm {outcome.arm_name}: {values}"
            event = Event(time, "new_best", text, outcome.trial_index)
            yield _message(news.name, "new_best", event, dict(outcome.means))


def new_bests(state: ExperimentState, events: Iterable[Event]) -> list[Outcome]:
    """Return the best outcome if ``events`` brought it; of several objectives all new Pareto ones.

    ``state`` is as it was after them. Pure.
    """
    new = {e.trial_index for e in events if e.kind == "trial_completed"}
    if not new:
        return []
    definition, baseline = state.definition, state.baseline
    if len(definition.all_objectives) > 1:
        best = pareto_front(definition, state.outcomes, baseline)
    else:
        found = best_outcome(definition, state.outcomes, baseline)
        best = [found] if found else []
    return [outcome for outcome in best if outcome.trial_index in new]


class Notifier:
    """Delivers messages, in order for each receiver, with retries; gives up rather than block."""

    def __init__(
        self,
        report: Callable[[str, str], None],
        send: Callable[[Notification, dict[str, object], str | None], None] = deliver,
        waits: tuple[float, ...] = WAITS,
    ) -> None:
        """``report``: called with an experiment's name and why somebody could not be told."""
        self._report = report
        self._send = send
        self._waits = waits
        self._queues: dict[Notification, Queue[News]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def tell(self, name: str, state: ExperimentState | None, events: tuple[Event, ...]) -> None:
        """Take note of what happened, to tell it soon; from any thread, at once."""
        if state is None or not events:
            return
        for receiver in state.definition.notifications:
            try:
                self._queue_of(receiver).put_nowait(News(name, state, events))
            except Full:
                self._report(name, f"a {receiver.type} is too slow: {KEPT} messages wait for it")

    def close(self, patience: float = 30.0) -> None:
        """Deliver what waits, for at most ``patience`` seconds, trying each but once from now."""
        self._closing.set()
        deadline = time.monotonic() + patience
        for queue in self._queues.values():
            while queue.unfinished_tasks and time.monotonic() < deadline:
                time.sleep(0.02)

    def _queue_of(self, receiver: Notification) -> Queue[News]:
        with self._lock:
            queue = self._queues.get(receiver)
            if queue is None:
                queue = self._queues[receiver] = Queue(KEPT)
                threading.Thread(
                    target=self._work, args=(receiver, queue), name="notify", daemon=True
                ).start()
            return queue

    def _work(self, receiver: Notification, queue: "Queue[News]") -> None:
        while True:
            news = queue.get()
            try:
                for message in messages(news, receiver.events):
                    self._try(receiver, message, news)
            except Exception as error:  # a thread that ends would tell nobody ever again
                self._report(news.name, f"this is a bug: {type(error).__name__}: {error}")
            finally:
                queue.task_done()

    def _try(self, receiver: Notification, message: dict[str, object], news: News) -> None:
        for wait in (*self._waits, None):
            try:
                self._send(receiver, message, news.state.definition.runner.workdir)
                return
            except Undelivered as error:
                if wait is None or error.final or self._closing.is_set():
                    self._report(news.name, f"{message['event']} was not told: {error}")
                    return
                self._closing.wait(max(wait, error.after))


def _message(name: str, topic: str, event: Event, metrics: dict[str, float]) -> dict[str, object]:
    text = f"new best: {event.message}" if topic == "new_best" else words(event)
    return {
        "text": f"{name}: {_harmless(text)}",
        "experiment": name,
        "event": topic,
        "time": event.time,
        "message": event.message,
        "trial_index": event.trial_index,
        "attempt": event.attempt,
        "metrics": metrics,
    }


def _harmless(text: str) -> str:
    """Return text in which nothing addresses a channel or makes a link; trials write it too."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, entity)
    return text
