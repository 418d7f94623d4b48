"""The half of the service door that asks for trials, and tells what came of them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from scheduler.python.errors import NoTrialAvailable, UserInputError, translated
from scheduler.python.numbers import RawData, data_of, number_of
from scheduler.python.session import Session

if TYPE_CHECKING:
    from scheduler.model.trial import Trial

Parameters = dict[str, Any]


class Door:
    """What the halves share."""

    def __init__(self, session: Session, make: Callable[[], None]) -> None:
        self.session = session
        self._make_first = make

    @property
    def made(self) -> Session:
        """The session, whose experiment is created where it is only configured yet."""
        with self.session.lock:
            self._make_first()
        return self.session


class Trials(Door):
    """Methods about single trials. They raise UserInputError, and ObjectNotFoundError."""

    # -- to have one

    def get_next_trial(self) -> tuple[Parameters, int]:
        """Return the parameters of a new trial, which is RUNNING from now on, and its index.

        Of a batch trial: arm -> parameters. Raises NoTrialAvailable: MaxParallelismReached where
        another must end first, OptimizationComplete where the experiment has stopped.
        """
        session = self.made
        index = session.take()
        return parameters_of(session.record(index).trial), index

    def get_next_trials(self, max_trials: int = 1) -> dict[int, Parameters]:
        """Return index -> parameters of so many new trials, or of as many as may be pending.

        Raises NoTrialAvailable where that is none.
        """
        found: dict[int, Parameters] = {}
        for _ in range(max_trials):
            try:
                parameters, index = self.get_next_trial()
            except NoTrialAvailable:
                if not found:
                    raise
                break
            found[index] = parameters
        return found

    def get_trial_parameters(self, trial_index: int) -> Parameters:
        """Return a trial's parameters; of a batch trial, arm -> parameters."""
        return parameters_of(self.made.record(trial_index).trial)

    def attach_trial(
        self, parameters: Mapping[str, Any], arm_name: str | None = None
    ) -> tuple[Parameters, int]:
        """Add a trial of an arm of your own, RUNNING from now on; return its arm and its index."""
        session = self.made
        index = self._attached(parameters, arm_name)
        return parameters_of(session.record(index).trial), index

    def attach_baseline(
        self, parameters: Mapping[str, Any] | None = None, arm_name: str | None = None
    ) -> int:
        """Add a trial of the status quo, or of ``parameters``, as a baseline; return its index."""
        status_quo = self.made.definition.status_quo
        given = parameters or (status_quo.parameters if status_quo else None)
        if given is None:
            raise UserInputError(
                "there is no baseline: create the experiment with status_quo={...}, or give "
                "parameters"
            )
        return self._attached(given, arm_name or "baseline")

    def _attached(self, parameters: Mapping[str, Any], arm_name: str | None) -> int:
        from scheduler.model.experiment import Ask

        session = self.made
        with translated():
            session.outside.check_arm(parameters, arm_name)
        payload = {"parameters": dict(parameters), "name": arm_name}
        with session.lock:
            session.tell(Ask("add-arm", payload=payload))
            with translated():
                index = session.outside.added(parameters)
            return session.take(index)

    # -- to tell what came of it

    def complete_trial(
        self, trial_index: int, raw_data: RawData = None, progression: float | None = None
    ) -> None:
        """Complete a trial with its results.

        ``raw_data``: a number, (mean, sem), metric -> either, or arm -> metric -> either. What it
        lacks is taken from what was attached before. ``progression``: the step it was measured at.
        """
        from scheduler.model.experiment import Ask
        from scheduler.outside import check_data

        if raw_data is not None and progression is not None:
            self.attach_data(trial_index, raw_data, progression)
        trial = self._pending(trial_index)
        definition = self.session.definition
        with translated():
            data = self.session.outside.reduced(trial)
            if raw_data is not None:
                for arm, metrics in data_of(raw_data, definition, trial).items():
                    data[arm] = {**data.get(arm, {}), **metrics}
            check_data(definition, trial, data)
        payload = {"attempt": trial.attempt, "data": data}
        self.session.tell(Ask("complete", trial_index, payload=payload))

    def attach_data(
        self, trial_index: int, raw_data: RawData, progression: float | None = None
    ) -> None:
        """Record results of a trial that runs, at a step; without one, steps count 0, 1, 2, ..."""
        from scheduler.model.experiment import Ask
        from scheduler.outside import check_names

        trial = self._pending(trial_index)
        outside = self.session.outside
        with translated():
            data = data_of(raw_data, self.session.definition, trial)
            check_names(self.session.definition, trial, data)
            step = outside.next_step(trial) if progression is None else progression
        at = number_of(step, "the progression")
        points = {
            arm: {m: (*pair, at) for m, pair in found.items()} for arm, found in data.items()
        }
        payload = {"attempt": trial.attempt, "data": points}
        self.session.tell(Ask("record", trial_index, payload=payload))

    update_running_trial_with_intermediate_data = attach_data

    def mark_trial_failed(self, trial_index: int, failed_reason: str | None = None) -> None:
        """Say that a trial has failed: its arm is kept away from."""
        trial = self._pending(trial_index)
        self._say("fail", trial, failed_reason, {"attempt": trial.attempt})

    def log_trial_failure(
        self, trial_index: int, metadata: Mapping[str, object] | None = None
    ) -> None:
        """Say that a trial has failed; ``metadata`` is kept as the reason."""
        said = ", ".join(f"{key}: {value}" for key, value in (metadata or {}).items())
        self.mark_trial_failed(trial_index, said)

    def mark_trial_abandoned(self, trial_index: int, reason: str | None = None) -> None:
        """Give a trial up: nothing is learned from it."""
        trial = self.made.record(trial_index).trial
        if trial.status.is_final:
            raise UserInputError(f"trial {trial_index} has ended already: it is {trial.status}")
        self._say("abandon", trial, reason, {})

    abandon_trial = mark_trial_abandoned

    def mark_trial_early_stopped(self, trial_index: int, reason: str | None = None) -> None:
        """Say that a trial was ended because it could not become good."""
        self._say("stop-early", self._pending(trial_index), reason, {})

    stop_trial_early = mark_trial_early_stopped

    def _say(self, verb: str, trial: "Trial", reason: str | None, more: Parameters) -> None:
        from scheduler.model.experiment import Ask

        self.session.tell(Ask(verb, trial.index, reason or "", more))

    def _pending(self, trial_index: int) -> "Trial":
        from scheduler.outside import check_pending

        trial = self.made.record(trial_index).trial
        with translated():
            check_pending(trial)
        return trial


def parameters_of(trial: "Trial") -> Parameters:
    """Return a trial's parameters; of a batch trial, arm -> parameters."""
    if len(trial.arms) == 1:
        return dict(trial.arms[0].parameters)
    return {arm.name: dict(arm.parameters) for arm in trial.arms}
