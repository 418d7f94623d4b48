"""Brings what Pods have written into the folders of a job, for as long as there is time."""

import time
from collections.abc import Callable

from runners.base import JobRef, Unavailable
from runners.kube import jobs, objects, pods
from runners.kube.api import Api, NotThere, Refusal
from runners.kube.options import KubernetesOptions
from runners.kube.output import Output
from runners.kube.pod import is_shared
from runners.kube.pods import TaskView
from runners.kube.states import View
from runners.kube.template import Manifest

OUTPUT_TIME = 20.0
"""Seconds of one call of the runner that bringing output may take; the next one carries on."""
GONE = "a Pod is gone"
AT_ONCE = 50
"""Pods that run and are asked for output in one call of the runner; the others wait their turn."""
SHORTEST_REST, LONGEST_REST = 5.0, 60.0
"""Seconds for which a Pod that runs and had nothing new to say is left alone; twice as long each
time."""


class Courier:
    """Brings output from one place, all of whose requests share the time of one call."""

    def __init__(
        self,
        api: Api,
        options: KubernetesOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._options = options
        self._clock = clock
        self._until = 0.0
        self._left = 0
        self._rests: dict[str, tuple[float, float]] = {}
        """By a Pod's uid: until when it is left alone, and how long that is."""
        self.longest_rest = LONGEST_REST
        self.begin()

    def begin(self) -> None:
        """Begin a call of the runner, with time of its own."""
        now = self._clock()
        self._until = now + OUTPUT_TIME
        self._left = AT_ONCE
        forgotten = now - 10 * LONGEST_REST
        self._rests = {uid: rest for uid, rest in self._rests.items() if rest[0] > forgotten}

    @property
    def has_time(self) -> bool:
        """Whether there is time left for requests that can wait."""
        return self._clock() <= self._until

    @property
    def can_bring(self) -> bool:
        """Whether a Pod that runs could be asked in this call."""
        return self.has_time and self._left > 0

    def bring(self, ref: JobRef, view: View, *, at_once: bool = False) -> str:
        """Bring the output so far of all tasks; return why that is not possible, or nothing.

        Tasks that run are asked only now and then, unless ``at_once``.
        """
        problem = ""
        for task, output in zip(view.tasks, self._outputs(ref), strict=False):
            if task.pod is not None and (at_once or task.has_ended or self._is_due(task.pod)):
                problem = self._bring(task.pod, task, output) or problem
        return problem

    def _is_due(self, pod: Manifest) -> bool:
        until, _ = self._rests.get(objects.uid(pod), (0.0, 0.0))
        return self._left > 0 and self._clock() >= until

    def _note_asked(self, pod: Manifest, *, news: bool) -> None:
        """Note that a Pod that runs was asked, and leave it alone for longer if it is silent."""
        self._left -= 1
        _, rest = self._rests.get(objects.uid(pod), (0.0, 0.0))
        rest = 0.0 if news else min(max(2 * rest, SHORTEST_REST), self.longest_rest)
        self._rests[objects.uid(pod)] = (self._clock() + rest, rest)

    def has_all(self, ref: JobRef, view: View) -> bool:
        """Whether all that the ended tasks wrote is here."""
        return all(
            output.is_complete(objects.uid(task.pod))
            for task, output in zip(view.tasks, self._outputs(ref), strict=False)
            if task.pod is not None and pods.has_begun(task.pod)
        )

    def conclude(self, ref: JobRef, view: View) -> bool:
        """Write the files that the ended tasks' messages and output hold. Raises OSError.

        Returns whether each task has results that do not depend on output that is not here.
        """
        results = True
        for task, output in zip(view.tasks, self._outputs(ref), strict=False):
            message = "" if task.pod is None else pods.terminated(task.pod).get("message")
            results = output.conclude(str(message or "")) and results
        return results

    def _bring(self, pod: Manifest, task: TaskView, output: Output) -> str:
        if not pods.has_begun(pod) or not self.has_time:
            return ""
        name, ended = str(pod["metadata"]["name"]), task.report.state.is_final
        try:
            news = output.follow(
                objects.uid(pod), lambda query: jobs.log(self._api, name, query), ended=ended
            )
            if not ended:
                self._note_asked(pod, news=news)
        except NotThere:
            return GONE
        except (Refusal, Unavailable) as error:
            return str(error)
        except OSError as error:
            return f"{error.filename or 'its folder'}: {error.strerror}"
        return ""

    def _outputs(self, ref: JobRef) -> list[Output]:
        limit = self._options.output_limit
        return [
            Output(each, limit=limit, shared=is_shared(each, self._options))
            for each in ref.directories
        ]
