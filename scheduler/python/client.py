"""The service door: a program asks for trials, carries them out and tells what came of them."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from scheduler.python import words
from scheduler.python.answers import Answers
from scheduler.python.errors import UserInputError, translated
from scheduler.python.session import Place, Session
from scheduler.python.trials import Trials

if TYPE_CHECKING:
    from scheduler.python.experiment import Experiment

SERVERS = ("http://", "https://", "unix://")


class Client(Trials, Answers):
    """One experiment whose trials the calling program carries out, in a store.

    The store is a database by its URL, shared with other processes, the command line and the
    daemon; a server by its URL, ``http://HOST:PORT`` or ``unix:///PATH`` (``schedd serve``); or a
    temporary one that is gone when the client is closed, or the program ends.
    Both generations of Ax's names are understood: those of AxClient and those of its successor.
    Arguments and results are plain numbers, text, lists and mappings. Methods may be called by
    several threads, and any number of clients in any number of processes may share an experiment.
    """

    def __new__(cls, storage: "str | Place | None" = None, **_options: Any) -> Self:
        """Return a client of a server where ``storage`` is the URL of one."""
        if cls is Client and isinstance(storage, str) and storage.startswith(SERVERS):
            from scheduler.python.remote import RemoteClient

            found: Self = object.__new__(RemoteClient)  # type: ignore[assignment]
            return found
        return object.__new__(cls)

    def __init__(
        self,
        storage: "str | Place | None" = None,
        *,
        random_seed: int | None = None,
        generation_strategy: Any = None,
        wait: float = 600.0,
        token: str | None = None,
    ) -> None:
        """Open no database yet.

        ``generation_strategy``: a GenerationStrategy, or its keys. ``wait``: seconds to wait for
        another process that drives the experiment, before :class:`Busy` is raised. ``token``: that
        of ``schedd serve``, where ``storage`` is its URL.
        """
        if token is not None:
            raise UserInputError("a token is for http://HOST:PORT, where schedd serve listens")
        self._stand_on(Session(storage, wait), random_seed, generation_strategy)

    def _stand_on(self, session: Session, seed: int | None, strategy: Any) -> None:
        super().__init__(session, self._make)
        self._seed, self._strategy = seed, strategy
        self._draft: words.Written | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def experiment(self) -> "Experiment":
        """The same experiment, by the developer door."""
        from scheduler.python.experiment import Experiment

        return Experiment(None, self.made.definition.name, storage=self.session)

    def close(self) -> None:
        """Close the database; a temporary one is removed. May be called twice."""
        self.session.close()

    # -- to begin

    def create_experiment(  # noqa: PLR0913  # Ax's own
        self,
        parameters: Iterable[Any],
        name: str | None = None,
        objectives: Mapping[str, Any] | None = None,
        parameter_constraints: Sequence[Any] = (),
        outcome_constraints: Sequence[Any] = (),
        *,
        description: str = "",
        status_quo: Mapping[str, Any] | None = None,
        objective_name: str | None = None,
        minimize: bool = False,
        tracking_metric_names: Sequence[str] = (),
        total_trials: int | None = None,
        max_pending_trials: int = words.MAX_PENDING,
        choose_generation_strategy_kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Create an experiment at once, or go on with the same one in the store.

        ``objectives``: metric -> ObjectiveProperties; or ``objective_name`` and ``minimize``.
        ``options``: further keys of an experiment's file, such as ``stopping_criteria``.
        Raises UserInputError.
        """
        given = objectives or {objective_name or "objective": {"minimize": minimize}}
        self._choose(choose_generation_strategy_kwargs or {})
        self._draft = {
            **self._described(name, description, parameters, parameter_constraints),
            **words.objectives_of(given),
            "outcome_constraints": list(outcome_constraints),
            "trials": {"total_trials": total_trials, "max_pending_trials": max_pending_trials},
            "tracking": list(tracking_metric_names),
            **({"status_quo": {"parameters": dict(status_quo)}} if status_quo else {}),
            **(options or {}),
        }
        self._make()

    def _choose(self, keywords: Mapping[str, Any]) -> None:
        if not keywords:
            return
        from scheduler.python.arms import choose_generation_strategy

        try:
            chosen = choose_generation_strategy(**keywords)
        except TypeError as error:
            raise UserInputError(
                f"{error}; give the client a generation_strategy for what that does not say"
            ) from None
        self._strategy = self._strategy or chosen
        if self._seed is None:
            self._seed = keywords.get("random_seed")

    def configure_experiment(
        self,
        parameters: Iterable[Any],
        parameter_constraints: Sequence[Any] = (),
        name: str | None = None,
        description: str = "",
        **tags: str | None,
    ) -> None:
        """Say what may vary; :meth:`configure_optimization` says what is to be better.

        The experiment is created when the first trial is asked for.
        """
        self._draft = self._described(name, description, parameters, parameter_constraints)
        if found := {key: value for key, value in tags.items() if value}:
            self._draft["tags"] = found

    def configure_optimization(
        self, objective: str, outcome_constraints: Sequence[str] = ()
    ) -> None:
        """Say what is to be better: ``-loss``, ``accuracy``, ``a + 2 * b``, or ``-a, b``."""
        self._change(words.with_thresholds(objective, outcome_constraints))

    def configure_generation_strategy(
        self,
        method: str = "fast",
        initialization_budget: int | None = None,
        initialization_random_seed: int | None = None,
    ) -> None:
        """Say how arms are made: ``fast``, ``quality`` or ``random_search``."""
        self._change({})
        self._strategy = words.chosen(method, initialization_budget, initialization_random_seed)

    def configure_tracking_metrics(self, metric_names: Sequence[str]) -> None:
        """Name metrics that are only recorded."""
        self._change({"tracking": list(metric_names)})

    def configure(self, **keys: Any) -> None:
        """Set further keys of an experiment's file, such as ``stopping_criteria``."""
        self._change(keys)

    def _described(
        self, name: str | None, description: str, parameters: Iterable[Any], limits: Sequence[Any]
    ) -> words.Written:
        self._check_new()
        return {
            "schema": "schedd/v1",
            "name": words.name_of(name),
            "description": description,
            "parameters": words.parameters_of(parameters),
            "parameter_constraints": list(limits),
            "runner": {"type": "external"},
        }

    def _change(self, keys: Mapping[str, Any]) -> None:
        self._check_new()
        if self._draft is None:
            raise UserInputError("call configure_experiment first")
        self._draft |= keys

    def _check_new(self) -> None:
        if self.session.is_made:
            raise UserInputError(f"there is an experiment already: {self.session.definition.name}")

    def _make(self) -> None:
        """Create the experiment that was configured, unless there is one."""
        if self.session.is_made:
            return
        if self._draft is None:
            raise UserInputError("there is no experiment: create_experiment, or load one")
        if not {"objective", "objectives"} & self._draft.keys():
            raise UserInputError("there is no objective: call configure_optimization")
        self.session.make(words.whole(self._draft, self._strategy, self._seed))

    # -- to go on

    def load_experiment(self, name: str | None = None) -> None:
        """Go on with a stored experiment; the only one where no name is given."""
        self._check_new()
        self.session.find(name)

    load_experiment_from_database = load_experiment

    @classmethod
    def load_from_database(cls, experiment_name: str, storage: str, **options: Any) -> Self:
        """Return a client that goes on with a stored experiment."""
        client = cls(storage, **options)
        client.load_experiment(experiment_name)
        return client

    def save_to_json_file(self, filepath: str = "schedd_client.jsonl") -> None:
        """Write all there is of the experiment, as ``schedd export`` does; the file is replaced.

        It appears whole or not at all.
        """
        from scheduler.storage.transfer import lines

        self._make()
        aside = Path(f"{filepath}.{os.getpid()}")
        try:
            with aside.open("w", encoding="utf-8") as file, translated():
                for line in lines(self.session.place.store, self.session.experiment):
                    file.write(json.dumps(line, allow_nan=False, separators=(",", ":")) + "\n")
            aside.replace(filepath)
        finally:
            with suppress(FileNotFoundError):
                aside.unlink()

    @classmethod
    def load_from_json_file(
        cls, filepath: str = "schedd_client.jsonl", storage: str | None = None, **options: Any
    ) -> Self:
        """Return a client of an experiment that was saved, stored at ``storage``."""
        from scheduler.storage.transfer import restore

        client = cls(storage, **options)
        with translated(), Path(filepath).open(encoding="utf-8") as file:
            name = restore(client.session.place.store, map(_object, file))
        if name is None:
            raise UserInputError("the store holds an experiment of this name already")
        client.load_experiment(name)
        return client


def _object(line: str) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        if isinstance(found := json.loads(line), dict):
            return found
    raise UserInputError("it is no export of schedd: a line is no JSON object")
