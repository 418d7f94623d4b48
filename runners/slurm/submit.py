"""Give jobs to Slurm: those of equal needs as one array, each found again by what it noted."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from runners import wrapper
from runners.base import STDERR, STDOUT, Job, Rejected, RunnerError, Task, Unavailable
from runners.folder import Folder, write_aside
from runners.order import Limits, encode
from runners.slurm import answers, node, script
from runners.slurm.call import Answer
from runners.slurm.cluster import Cluster
from runners.slurm.note import Given, Note, Seat
from runners.slurm.options import SlurmOptions

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_LATER = answers.Full("Slurm does not answer; it was not asked for this job")


class Submission:
    """How the jobs of one runner are given to a cluster."""

    def __init__(
        self, cluster: Cluster, options: SlurmOptions, clock: Callable[[], float]
    ) -> None:
        self.cluster = cluster
        self.options = options
        self._clock = clock
        self._limit: tuple[float, Unavailable] | None = None
        """When Slurm last had no room for a single job more, and what it said."""
        self._most = cluster.max_array
        """Jobs to try at once: fewer where there was no room for as many, then more again."""

    def give(self, jobs: Sequence[Job]) -> dict[str, str | RunnerError]:
        """Submit ``jobs``; return each one's id or error, by name.

        After a submission of which nobody knows whether it got through, the rest is left for
        later: each further try would take as long.
        """
        answered: dict[str, str | RunnerError] = {}
        for group in _groups(jobs):
            if self.cluster.is_silent(self.options.poll_floor):
                break
            answered |= self._give_group(group)
        return {job.name: answered.get(job.name, _LATER) for job in jobs}

    def _give_group(self, jobs: Sequence[Job]) -> dict[str, str | RunnerError]:
        """Submit jobs of equal needs, in arrays as large as the cluster takes."""
        full = self._still_full()
        if full is not None:
            return {job.name: full for job in jobs}
        answered: dict[str, str | RunnerError] = {}
        waiting, most = list(jobs), min(self.cluster.max_array, self._most)
        while waiting:
            chunk = _chunk(waiting, most)
            answer = self._give_chunk(chunk)
            if isinstance(answer, answers.TooLarge | answers.AtLimit) and len(chunk) > 1:
                most = max(1, sum(len(job.tasks) for job in chunk) // 2)
                if isinstance(answer, answers.TooLarge):
                    self.cluster.max_array = most
                continue
            del waiting[: len(chunk)]
            answered |= _ids(chunk, answer)
            self._learn(answer, sum(len(job.tasks) for job in chunk))
            if type(answer) is Unavailable:
                self.cluster.note_silence()
            if isinstance(answer, Unavailable):
                later = answer if isinstance(answer, answers.Full) else _LATER
                answered |= {job.name: later for job in waiting}
                break
        return answered

    def _learn(self, answer: str | RunnerError, size: int) -> None:
        """Keep how many tasks to try at once, from how ``size`` of them fared."""
        if isinstance(answer, answers.Crowded):
            self._most = max(1, size // 2)
            self._limit = self._clock(), answer
        elif isinstance(answer, str):
            self._most = max(self._most, 2 * size)

    def _still_full(self) -> Unavailable | None:
        """Return why Slurm had no room, where that was within the floor: it is not asked again."""
        if self._limit is None or self._clock() - self._limit[0] >= self.options.poll_floor:
            self._limit = None
            return None
        return self._limit[1]

    def _give_chunk(self, jobs: Sequence[Job]) -> str | RunnerError:
        """Submit jobs as one Slurm job; return its id, or the error of them all."""
        try:
            name = self._prepare(jobs)
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            return answers.Full(f"its folder cannot be made ready: {error.strerror}{place}")
        answer = self._sbatch(jobs, name)
        if isinstance(answer, Rejected | answers.Full):
            self._withdraw(jobs)
        if isinstance(answer, answers.AtLimit) and len(jobs) == 1:
            self._limit = self._clock(), answer
        if jobs[0].avoid and type(answer) is Rejected:
            return self._give_chunk([replace(job, avoid=()) for job in jobs])
        return answer

    def _sbatch(self, jobs: Sequence[Job], name: str) -> str | RunnerError:
        try:
            return answers.read(self._call(jobs, name))
        except Unavailable as error:  # there is no sbatch: nothing was asked
            return answers.Full(str(error))

    def _call(self, jobs: Sequence[Job], name: str, *more: str) -> Answer:
        first, *rest = script.argv(jobs, name, self.options)
        text = script.text(script.folder_of(jobs[0], name), self.options)
        login = self.options.environment == "login"
        return self.cluster.call([first, *more, *rest], text=text, login=login)

    def examine(self, job: Job) -> None:
        """Ask whether Slurm would take ``job``, now and for ever. Raises as submitting does."""
        answer = self._call([job], script.array_name(job, 1), "--test-only")
        if answer.status == 0:
            return
        refusal = answers.read(answer)
        raise refusal if isinstance(refusal, RunnerError) else Unavailable(answer.sentence)

    def _prepare(self, jobs: Sequence[Job]) -> str:
        """Make all folders ready, and note in each where it will be found; return the name."""
        leader = jobs[0]
        note = Seat(leader.tasks[0].directory, leader.name).note()
        name = script.array_name(leader, 1 + (note.tries if note else 0))
        folder = script.folder_of(leader, name)
        tasks = [(job, task) for job in jobs for task in job.tasks]
        for job, task in tasks:
            _make_ready(job, task, self._limits)
        os.makedirs(folder, 0o700, exist_ok=True)
        _write_code(folder)
        _write_tasks(folder, tasks, self.options)
        for index, (job, task) in enumerate(tasks):
            given = Given(name=name, index=index if len(tasks) > 1 else None, at=self._clock())
            self._note(job, task, given)
        return name

    @property
    def _limits(self) -> Limits:
        return Limits(self.options.term_grace, self.options.output_limit)

    def _note(self, job: Job, task: Task, given: Given) -> None:
        seat = Seat(task.directory, job.name)
        note = seat.note() or Note(job=job.name)
        resume = self.options.on_requeue == "resume"
        fresh = {"resume": resume, "limit": job.resources.time, "seen": None}
        tries = {"tries": note.tries + 1, "given": (*note.given, given)}
        note = note.model_copy(update={**fresh, **tries})
        seat.write_note(note, durably=True)

    def _withdraw(self, jobs: Sequence[Job]) -> None:
        """Note that Slurm did not take the last try."""
        for job in jobs:
            for task in job.tasks:
                seat = Seat(task.directory, job.name)
                note = seat.note()
                if note is not None and note.given:
                    rest = note.model_copy(update={"given": note.given[:-1]})
                    seat.write_note(rest, durably=False)


def _groups(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Yield the jobs that can be elements of one array, in order of their first."""
    found: dict[object, list[Job]] = {}
    for job in jobs:
        needs = job.resources, job.hold, job.avoid, job.workdir
        found.setdefault(needs, []).append(job)
    yield from found.values()


def _chunk(jobs: Sequence[Job], most: int) -> list[Job]:
    """Return the first of ``jobs``, and as many more as fit in an array of ``most`` elements."""
    chunk, size = [jobs[0]], len(jobs[0].tasks)
    for job in jobs[1:]:
        size += len(job.tasks)
        if size > most:
            break
        chunk.append(job)
    return chunk


def _ids(jobs: Sequence[Job], answer: str | RunnerError) -> dict[str, str | RunnerError]:
    """Return the answer to each job of a chunk: its first element's id, or the error."""
    if not isinstance(answer, str):
        return {job.name: answer for job in jobs}
    if sum(len(job.tasks) for job in jobs) == 1:
        return {jobs[0].name: answer}
    found: dict[str, str | RunnerError] = {}
    index = 0
    for job in jobs:
        found[job.name] = f"{answer}_{index}"
        index += len(job.tasks)
    return found


def _make_ready(job: Job, task: Task, limits: Limits) -> None:
    """Write the task's files, and the order that its wrapper will read on the node."""
    folder = Folder(task.directory, job.name)
    os.makedirs(folder.place, 0o700, exist_ok=True)
    lock = folder.open_lock(create=True)
    assert lock is not None
    lock.close()
    for name, text in task.files.items():
        write_aside(f"{folder.path}/{name}", text)
    who = {"job": job.name, "task": task.name}
    order = encode(task, job, limits, {}, who=who)
    path = f"{folder.place}/order"
    with open(os.open(f"{path}.tmp", _NEW, 0o600), "wb") as file:
        file.write(order)
    os.replace(f"{path}.tmp", path)


def _write_code(folder: Path) -> None:
    for module, name in ((node, "__main__.py"), (wrapper, "wrapper.py")):
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        write_aside(f"{folder}/{name}", source)


def _write_tasks(folder: Path, tasks: Sequence[tuple[Job, Task]], options: SlurmOptions) -> None:
    """Write which element is which task, and link to the logs of each."""
    places = [Folder(task.directory, job.name).place for job, task in tasks]
    mode = node.RESUME.decode() if options.on_requeue == "resume" else "once"
    write_aside(f"{folder}/tasks", "\0".join((mode, *places)))
    if len(tasks) == 1:
        return
    for index, (_, task) in enumerate(tasks):
        for log, suffix in ((STDOUT, "out"), (STDERR, "err")):
            _link(f"{task.directory}/{log}", f"{folder}/{index}.{suffix}")


def _link(target: str, path: str) -> None:
    temp = f"{path}.tmp"
    if os.path.lexists(temp):
        os.unlink(temp)
    os.symlink(target, temp)
    os.replace(temp, path)
