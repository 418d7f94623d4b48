"""Trials as a program holds them: in memory while they are composed, then as they are stored."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from scheduler.model.experiment import STATUS_QUO
from scheduler.model.observation import GeneratorRun as RunRow
from scheduler.model.trial import Arm, TrialStatus
from scheduler.model.trial import Trial as Stored
from scheduler.python.arms import GeneratorRun
from scheduler.python.errors import UserInputError
from scheduler.python.metric import Runner

if TYPE_CHECKING:
    from scheduler.python.experiment import Experiment


class BaseTrial:
    """A trial of an experiment. Arms can be added until it leaves CANDIDATE."""

    def __init__(self, experiment: "Experiment", index: int) -> None:
        self.experiment = experiment
        self.index = index
        self._arms: list[Arm] = []
        self._run: GeneratorRun | None = None

    def __repr__(self) -> str:
        names = ", ".join(arm.name for arm in self.arms)
        return f"{type(self).__name__}({self.index}, {self.status}, arms: {names})"

    # -- what it is

    @property
    def stored(self) -> Stored:
        """The trial as it is stored, or will be."""
        if self.experiment.draft(self.index):
            return Stored(self.index, tuple(self._arms))
        return self.experiment.session.record(self.index).trial

    @property
    def status(self) -> TrialStatus:
        """Where it is."""
        return self.stored.status

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Its arms."""
        return self.stored.arms

    @property
    def arms_by_name(self) -> dict[str, Arm]:
        """Its arms by name."""
        return {arm.name: arm for arm in self.arms}

    @property
    def run_metadata(self) -> dict[str, Any]:
        """What the runner said when it deployed the trial."""
        return metadata_of(self.stored.job_id)

    @property
    def status_reason(self) -> str:
        """Why it failed or was abandoned."""
        return self.stored.message

    # -- what it is made of

    def _add(self, arm: Arm) -> None:
        self._check_open()
        place = sum(other.name != STATUS_QUO for other in self._arms)
        named = self.experiment.named(arm, f"{self.index}_{place}")
        for i, other in enumerate(self._arms):
            if other.name == named.name:
                self._arms[i] = replace(other, weight=other.weight + named.weight)
                return
        self._arms.append(named)

    def _note(self, run: GeneratorRun) -> None:
        self._check_open()
        self._run = run if run.generator else self._run

    def _check_open(self) -> None:
        if not self.experiment.draft(self.index):
            raise UserInputError(f"trial {self.index} is {self.status}: its arms are fixed")

    def candidate(self, now: float, generator_run: int | None) -> Stored:
        """Return the trial as it is to be stored. Raises UserInputError where it has no arm."""
        if not self._arms:
            raise UserInputError(f"trial {self.index} has no arm: add one")
        arms = tuple(self._arms)
        node = self._run.node if self._run else None
        return Stored(self.index, arms, generator_run=generator_run, node=node, created_at=now)

    def run_row(self, index: int, now: float) -> RunRow | None:
        """Return how its arms were chosen, where a generator did."""
        run = self._run
        if run is None:
            return None
        return RunRow(
            index=index,
            node=run.node or 0,
            generator=run.generator,
            seed=run.seed,
            cursor=run.cursor,
            created_at=now,
            predictions=tuple(run.predictions),
        )

    # -- what becomes of it

    def mark_staged(self) -> Self:
        """Say that it is deployed, and does not run yet."""
        return self._to(TrialStatus.STAGED)

    def mark_running(self, no_runner_required: bool = True) -> Self:
        """Say that it runs."""
        if not no_runner_required and self.experiment.runner is None:
            raise UserInputError("the experiment has no runner")
        return self._to(TrialStatus.RUNNING)

    def mark_completed(self) -> Self:
        """Say that it has ended well: the data that was attached are its results."""
        return self._to(TrialStatus.COMPLETED)

    def mark_failed(self, reason: str | None = None) -> Self:
        """Say that it has failed."""
        return self._to(TrialStatus.FAILED, reason or "")

    def mark_abandoned(self, reason: str | None = None) -> Self:
        """Give it up."""
        return self._to(TrialStatus.ABANDONED, reason or "")

    def mark_early_stopped(self) -> Self:
        """Say that it was ended because it could not become good."""
        return self._to(TrialStatus.EARLY_STOPPED)

    def run(self) -> Self:
        """Deploy it by the experiment's runner, stored as STAGED before that. It is RUNNING then.

        Where the runner says ``staging_required`` it stays STAGED. What the runner raises makes it
        FAILED, and is raised.
        """
        runner = self.experiment.runner
        if not isinstance(runner, Runner):
            raise UserInputError(
                "the experiment has no runner of yours; experiment.save() stores the trial for "
                "whoever drives the experiment"
            )
        self.mark_staged()
        try:
            metadata = runner.run(self)
        except Exception as error:
            self.mark_failed(f"it could not be deployed: {type(error).__name__}: {error}")
            raise
        if not runner.staging_required:
            self.experiment.move(self, TrialStatus.RUNNING, job_id=job_id_of(metadata))
        return self

    def stop(self, new_status: TrialStatus = TrialStatus.ABANDONED, reason: str = "") -> Self:
        """Let the runner end it, and say what it is then."""
        runner = self.experiment.runner
        if isinstance(runner, Runner):
            runner.stop(self, reason)
        return self._to(new_status, reason)

    def _to(self, status: TrialStatus, message: str = "") -> Self:
        self.experiment.move(self, status, message)
        return self


class Trial(BaseTrial):
    """A trial of one arm."""

    @property
    def arm(self) -> Arm | None:
        """Its arm, if it has one yet."""
        return next(iter(self.arms), None)

    def add_arm(self, arm: Arm) -> Self:
        """Give it its arm."""
        self._check_open()
        if self._arms:
            raise UserInputError(f"trial {self.index} has an arm already: {self._arms[0].name}")
        self._add(arm)
        return self

    def add_generator_run(self, generator_run: GeneratorRun) -> Self:
        """Give it the arm that a generator made."""
        if len(generator_run.arms) != 1:
            count = len(generator_run.arms)
            raise UserInputError(f"a trial takes one arm, not {count}: use new_batch_trial()")
        self.add_arm(generator_run.arms[0])
        self._note(generator_run)
        return self


class BatchTrial(BaseTrial):
    """A trial of several arms, which are deployed and measured together."""

    @property
    def arm_weights(self) -> dict[str, float]:
        """Each arm's share, beside those of the others."""
        return {arm.name: arm.weight for arm in self.arms}

    def add_arm(self, arm: Arm, weight: float = 1.0) -> Self:
        """Add an arm; the weights of equal arms add up."""
        if not weight > 0:
            raise UserInputError(f"the weight of an arm is above 0, not {weight}")
        self._add(Arm(arm.name, arm.parameters, float(weight)))
        return self

    def add_arms_and_weights(
        self, arms: Sequence[Arm], weights: Sequence[float] | None = None
    ) -> Self:
        """Add arms, all of equal weight unless told otherwise."""
        if weights is not None and len(weights) != len(arms):
            raise UserInputError(f"there are {len(arms)} arms and {len(weights)} weights")
        for arm, weight in zip(arms, weights or [1.0] * len(arms), strict=True):
            self.add_arm(arm, weight)
        return self

    def add_generator_run(self, generator_run: GeneratorRun, multiplier: float = 1.0) -> Self:
        """Add the arms that a generator made, their weights times ``multiplier``."""
        weights = generator_run.weights or [arm.weight for arm in generator_run.arms]
        self.add_arms_and_weights(generator_run.arms, [w * multiplier for w in weights])
        self._note(generator_run)
        return self


def job_id_of(metadata: Mapping[str, Any] | None) -> str:
    """Return a runner's metadata as a job's id. Raises UserInputError where it is no JSON."""
    try:
        return json.dumps({"run_metadata": dict(metadata or {})}, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise UserInputError(f"what the runner returned cannot be stored: {error}") from None


def metadata_of(job_id: str | None) -> dict[str, Any]:
    """Return the metadata in a job's id; nothing where there is none."""
    if not (job_id or "").startswith('{"run_metadata"'):
        return {}
    found: dict[str, Any] = json.loads(job_id or "")["run_metadata"]
    return found
