"""The service door over HTTP: the same methods, carried out by ``schedd serve``."""

import os
from collections.abc import Mapping, Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any, Never

from scheduler.python.answers import Best, Moments
from scheduler.python.client import Client
from scheduler.python.errors import UnsupportedError, UserInputError, translated
from scheduler.python.numbers import RawData, plain
from scheduler.python.transport import Transport

if TYPE_CHECKING:
    from scheduler.model.definition import ExperimentDefinition
    from scheduler.python.experiment import Experiment
    from scheduler.storage.read import TrialRecord

PAGE = 500


class RemoteSession:
    """What the door stands on: an experiment that a server holds."""

    def __init__(self, transport: Transport) -> None:
        self.transport, self.lock = transport, RLock()
        self._definition: ExperimentDefinition | None = None

    def make(self, written: Mapping[str, Any]) -> None:
        """Create an experiment, or go on with the same one."""
        self._hold(self.transport.post("/v1/experiments", dict(written)))

    def find(self, name: str | None) -> None:
        """Go on with a stored experiment: the only one where no name is given."""
        if name is None:
            found = self.transport.get("/v1/experiments", limit=2)["experiments"]
            if len(found) != 1:
                raise UserInputError(f"name an experiment: {self.transport.url} holds others, too")
            name = str(found[0]["name"])
        self._hold(self.transport.get(f"/v1/experiments/{segment(name)}"))

    def _hold(self, told: Mapping[str, Any]) -> None:
        from scheduler.model.definition import ExperimentDefinition

        written = {**told["definition"], "runner": {"type": "external"}}
        with translated():
            self._definition = ExperimentDefinition.model_validate(written)

    def refresh(self) -> None:
        """Read the definition again: its budget may have changed."""
        self.find(self.definition.name)

    @property
    def is_made(self) -> bool:
        """Whether there is an experiment."""
        return self._definition is not None

    @property
    def definition(self) -> "ExperimentDefinition":
        """The experiment's definition, but for what only its server knows."""
        if self._definition is None:
            raise UserInputError("there is no experiment yet: create or load one first")
        return self._definition

    @property
    def at(self) -> str:
        """The path of the experiment."""
        return f"/v1/experiments/{segment(self.definition.name)}"

    def take(self) -> int:
        """Return a trial that is ours now. Raises NoTrialAvailable."""
        return int(self.transport.post(f"{self.at}/trials/next", {})["index"])

    def record(self, index: int) -> "TrialRecord":
        """Return a trial with what was measured of it. Raises ObjectNotFoundError."""
        return record_of(self.transport.get(f"{self.at}/trials/{whole(index)}"))

    def records(self) -> "list[TrialRecord]":
        """Return all trials, by index, with what was measured of them."""
        found: list[TrialRecord] = []
        offset: int | None = 0
        while offset is not None:
            page = self.transport.get(f"{self.at}/trials", offset=offset, limit=PAGE)
            found += map(record_of, page["trials"])
            offset = page["next"]
        return found

    def close(self) -> None:
        """Do nothing: connections last as long as their requests."""


class RemoteClient(Client):
    """One experiment that a server holds; ``Client("http://...")`` makes it."""

    session: RemoteSession  # type: ignore[assignment]

    def __init__(
        self,
        storage: str,
        *,
        random_seed: int | None = None,
        generation_strategy: Any = None,
        wait: float = 600.0,
        token: str | None = None,
    ) -> None:
        """Connect to nothing yet.

        ``token``: by default that in the environment, SCHEDD_TOKEN. ``wait``: seconds to wait for
        a server that is busy, or does not answer.
        """
        transport = Transport(storage, token or os.environ.get("SCHEDD_TOKEN"), wait)
        session: Any = RemoteSession(transport)
        self._stand_on(session, random_seed, generation_strategy)

    @property
    def _at(self) -> str:
        assert self.made.is_made
        return self.session.at

    def _tell(self, index: int, verb: str, body: Mapping[str, Any]) -> None:
        said = {key: value for key, value in body.items() if value is not None}
        self.session.transport.post(f"{self._at}/trials/{whole(index)}/{verb}", said)

    # -- trials

    def _attached(self, parameters: Mapping[str, Any], arm_name: str | None) -> int:
        body = {"parameters": plain(parameters), "arm_name": arm_name}
        return int(self.session.transport.post(f"{self._at}/trials", body)["index"])

    def complete_trial(
        self, trial_index: int, raw_data: RawData = None, progression: float | None = None
    ) -> None:
        """Complete a trial with its results, as :meth:`Client.complete_trial`."""
        body = {"data": plain(raw_data), "progression": plain(progression)}
        self._tell(trial_index, "complete", body)

    def attach_data(
        self, trial_index: int, raw_data: RawData, progression: float | None = None
    ) -> None:
        """Record results of a trial that runs, as :meth:`Client.attach_data`."""
        body = {"data": plain(raw_data), "progression": plain(progression)}
        self._tell(trial_index, "data", body)

    update_running_trial_with_intermediate_data = attach_data

    def mark_trial_failed(self, trial_index: int, failed_reason: str | None = None) -> None:
        """Say that a trial has failed: its arm is kept away from."""
        self._tell(trial_index, "fail", {"reason": failed_reason})

    def mark_trial_abandoned(self, trial_index: int, reason: str | None = None) -> None:
        """Give a trial up: nothing is learned from it."""
        self._tell(trial_index, "abandon", {"reason": reason})

    abandon_trial = mark_trial_abandoned

    def mark_trial_early_stopped(self, trial_index: int, reason: str | None = None) -> None:
        """Say that a trial was ended because it could not become good."""
        self._tell(trial_index, "stop-early", {"reason": reason})

    stop_trial_early = mark_trial_early_stopped

    # -- what was found

    def get_best_parameterization(self, use_model_predictions: bool = True) -> Best:
        """Return the best arm, as :meth:`Client.get_best_parameterization`."""
        model = str(use_model_predictions).lower()
        return best_of(self.session.transport.get(f"{self._at}/best", model=model))

    def get_pareto_frontier(self, use_model_predictions: bool = True) -> list[Best]:
        """Return the feasible arms that no other one beats in every objective."""
        model = str(use_model_predictions).lower()
        found = self.session.transport.get(f"{self._at}/pareto", model=model)
        return [best_of(each) for each in found["arms"]]

    def predict(self, points: Sequence[Mapping[str, Any]]) -> list[Moments]:
        """Return what a model predicts of arms, as :meth:`Client.predict`."""
        found: list[Moments] = []
        for start in range(0, len(points), PAGE):
            body = {"points": [plain(point) for point in points[start : start + PAGE]]}
            said = self.session.transport.post(f"{self._at}/predict", body)
            found += [moments_of(each) for each in said["predictions"]]
        return found

    # -- what is done where the store is

    def finding(self, *_: object, **__: object) -> Never:
        """Raise UnsupportedError."""
        raise UnsupportedError("this needs the store: give Client the URL of the database")

    def should_stop_trials_early(self, *_: object, **__: object) -> Never:
        """Raise UnsupportedError."""
        raise UnsupportedError("this needs the store: give Client the URL of the database")

    @property
    def experiment(self) -> "Experiment":
        """Raise UnsupportedError."""
        raise UnsupportedError("this needs the store: give Experiment.load the database's URL")

    def save_to_json_file(self, *_: object, **__: object) -> Never:
        """Raise UnsupportedError."""
        raise UnsupportedError("this needs the store: schedd export, where schedd serve is")

    @classmethod
    def load_from_json_file(cls, *_: object, **__: object) -> Never:
        """Raise UnsupportedError."""
        raise UnsupportedError("this needs the store: schedd import, where schedd serve is")


def segment(name: str) -> str:
    """Return a name as it stands in a path. Raises UserInputError."""
    from urllib.parse import quote

    return quote(str(name), safe="")


def whole(index: Any) -> int:
    """Return a trial's index, numpy's too. Raises UserInputError."""
    found = plain(index)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise UserInputError(f"{index!r} is no index of a trial")
    return found


def record_of(told: Mapping[str, Any]) -> "TrialRecord":
    """Return a trial as the store would give it."""
    from scheduler.model.observation import Observation
    from scheduler.model.trial import Arm, Trial, TrialStatus
    from scheduler.storage.read import TrialRecord

    index, attempt = told["index"], told["attempt"]
    arms = tuple(Arm(each["name"], each["parameters"], each["weight"]) for each in told["arms"])
    metrics = {
        each["name"]: {
            metric: Observation(index, attempt, each["name"], metric, said["mean"], said["sem"])
            for metric, said in each["metrics"].items()
        }
        for each in told["arms"]
    }
    trial = Trial(
        index,
        arms,
        created_at=0.0,
        status=TrialStatus(told["status"]),
        attempt=attempt,
        message=told["message"],
    )
    return TrialRecord(trial, metrics, told["generator"])


def best_of(told: Mapping[str, Any]) -> Best:
    """Return an arm as the methods do."""
    moments = moments_of(told["metrics"])
    return dict(told["parameters"]), moments, told["trial_index"], told["arm_name"]


def moments_of(told: Mapping[str, Any]) -> Moments:
    """Return metric -> (mean, standard error)."""
    return {metric: (said["mean"], said["sem"]) for metric, said in told.items()}
