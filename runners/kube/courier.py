"""Brings what Pods have written into the folders of a job, for as long as there is time."""

import time
from collections.abc import Callable

from runners.base import JobRef, Unavailable
from runners.kube import jobs, objects, pod, pods
from runners.kube.api import Api, NotThere, Refusal
from runners.kube.options import KubernetesOptions
from runners.kube.output import Output
from runners.kube.pods import TaskView
from runners.kube.states import View

OUTPUT_TIME = 20.0
"""Seconds of one call of the runner that bringing output may take; the next one carries on."""
GONE = "a Pod is gone"


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
        self.begin()

    def begin(self) -> None:
        """Begin a call of the runner, with time of its own."""
        self._until = self._clock() + OUTPUT_TIME

    @property
    def has_time(self) -> bool:
        """Whether there is time left for requests that can wait."""
        return self._clock() <= self._until

    def bring(self, ref: JobRef, view: View) -> str:
        """Bring the output so far of all tasks; return why that is not possible, or nothing."""
        problem = ""
        for task, output in zip(view.tasks, self._outputs(ref), strict=False):
            problem = self._bring(task, output) or problem
        return problem

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

    def _bring(self, task: TaskView, output: Output) -> str:
        if task.pod is None or not pods.has_begun(task.pod) or not self.has_time:
            return ""
        name = str(task.pod["metadata"]["name"])
        try:
            output.follow(
                objects.uid(task.pod),
                lambda query: jobs.log(self._api, name, query),
                ended=task.report.state.is_final,
            )
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
            Output(each, limit=limit, shared=pod.is_shared(each, self._options))
            for each in ref.directories
        ]
