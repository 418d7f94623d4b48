"""Reads studies from a relational storage of Optuna, 3 to 5, with SQLAlchemy alone."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Select, String, cast, column, create_engine, func, select, table
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from scheduler.model.base import did_you_mean
from scheduler.translate.optuna import OptunaTrial, Study


class NoStudy(Exception):
    """There is no such storage or study; the message is a sentence."""


def _table(name: str, *columns: str) -> Any:
    return table(name, *map(column, columns))


_STUDIES = _table("studies", "study_id", "study_name")
_DIRECTIONS = _table("study_directions", "study_id", "objective", "direction")
_USER = _table("study_user_attributes", "study_id", "key", "value_json")
_SYSTEM = _table("study_system_attributes", "study_id", "key", "value_json")
_TRIALS = _table("trials", "trial_id", "number", "study_id", "state")
_PARAMS = _table(
    "trial_params", "param_id", "trial_id", "param_name", "param_value", "distribution_json"
)
_VALUES = _table("trial_values", "trial_id", "objective", "value", "value_type")
_REPORTS = _table("trial_intermediate_values", "trial_id", "step")
_OF_TRIAL = _table("trial_system_attributes", "trial_id", "key", "value_json")
_METRIC_NAMES = "study:metric_names"
_CONSTRAINTS = "constraints"


def read_study(url: str, name: str | None, shown: str) -> Study:
    """Return the study called ``name``, or the only one. Nothing is written. Raises NoStudy.

    ``shown`` stands for the storage in sentences.
    """
    with _connected(url, shown) as connection:
        found = connection.execute(select(_STUDIES.c.study_name, _STUDIES.c.study_id))
        names = {str(study): int(number) for study, number in found}
        return _study(connection, *_chosen(names, name, shown))


def _chosen(studies: Mapping[str, int], name: str | None, url: str) -> tuple[int, str]:
    listed = ", ".join(sorted(studies)[:20]) + (", ..." if len(studies) > 20 else "")
    if not studies:
        raise NoStudy(f"{url} holds no study")
    if name is None and len(studies) > 1:
        raise NoStudy(f"{url} holds {len(studies)} studies; choose one with --study: {listed}")
    chosen = next(iter(studies)) if name is None else name
    if chosen not in studies:
        near = did_you_mean(chosen, studies)
        raise NoStudy(f"{url} holds no study {chosen!r}{near or f', but {listed}'}")
    return studies[chosen], chosen


def _study(connection: Connection, study: int, name: str) -> Study:
    system = _attributes(connection, _SYSTEM, study)
    metric_names = system.get(_METRIC_NAMES)
    constrained = _of_trials(select(func.count()), _OF_TRIAL, study)
    constrained = constrained.where(_OF_TRIAL.c.key == _CONSTRAINTS)
    return Study(
        name=name,
        directions=_directions(connection, study),
        trials=_trials(connection, study),
        states=_states(connection, study),
        other_distributions=_distributions(connection, study),
        metric_names=metric_names if isinstance(metric_names, list) else (),
        user_attributes=_attributes(connection, _USER, study),
        constrained=bool(connection.scalar(constrained)),
        reports=connection.scalar(_of_trials(select(func.count()), _REPORTS, study)) or 0,
    )


def _directions(connection: Connection, study: int) -> list[str]:
    d = _DIRECTIONS.c
    query = select(d.direction).where(d.study_id == study).order_by(d.objective)
    return [str(direction) for direction in connection.scalars(query)]


def _states(connection: Connection, study: int) -> Counter[str]:
    t = _TRIALS.c
    query = select(t.state, func.count()).where(t.study_id == study).group_by(t.state)
    return Counter({str(state): count for state, count in connection.execute(query)})


def _trials(connection: Connection, study: int) -> list[OptunaTrial]:
    """Return the COMPLETE trials, in the order of their numbers."""
    t, p, v = _TRIALS.c, _PARAMS.c, _VALUES.c
    of_study = select(t.trial_id, t.number).where(t.study_id == study)
    complete = of_study.where(cast(t.state, String) == "COMPLETE")  # PostgreSQL has an enum
    found = {int(i): int(number) for i, number in connection.execute(complete)}
    parameters: dict[int, dict[str, tuple[float, str]]] = {i: {} for i in found}
    query = select(p.trial_id, p.param_name, p.param_value, p.distribution_json)
    query = _of_trials(query, _PARAMS, study).order_by(p.param_id)
    for trial, name, value, distribution in connection.execute(query):
        if trial in found:
            parameters[trial][name] = (value, distribution)
    values: dict[int, dict[int, float | None]] = {i: {} for i in found}
    query = select(v.trial_id, v.objective, v.value, v.value_type)
    for trial, objective, value, kind in connection.execute(_of_trials(query, _VALUES, study)):
        if trial in found:
            values[trial][objective] = value if kind == "FINITE" else None
    trials = (
        OptunaTrial(number, [values[i][k] for k in sorted(values[i])], parameters[i])
        for i, number in found.items()
    )
    return sorted(trials, key=lambda trial: trial.number)


def _distributions(connection: Connection, study: int) -> dict[str, str]:
    """Return a distribution of each parameter that any trial has."""
    query = select(_PARAMS.c.param_name, func.max(_PARAMS.c.distribution_json))
    query = _of_trials(query, _PARAMS, study).group_by(_PARAMS.c.param_name)
    return {str(name): str(text) for name, text in connection.execute(query)}


def _of_trials(query: Select[Any], of: Any, study: int) -> Select[Any]:
    """Return a query on a table of trials' rows, of one study alone."""
    joined = _TRIALS.join(of, _TRIALS.c.trial_id == of.c.trial_id)
    return query.select_from(joined).where(_TRIALS.c.study_id == study)


def _attributes(connection: Connection, of: Any, study: int) -> dict[str, Any]:
    query = select(of.c.key, of.c.value_json).where(of.c.study_id == study)
    found: dict[str, Any] = {}
    for key, text in connection.execute(query):
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


@contextmanager
def _connected(url: str, shown: str) -> Iterator[Connection]:
    try:
        engine = create_engine(_readable(make_url(url)))
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        text = str(error).splitlines()[0]
        raise NoStudy(f"{shown} is no database that can be opened: {text}") from None
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        text = str(error.orig).splitlines()[0]
        raise NoStudy(f"{shown} cannot be read as a storage of Optuna 3 to 5: {text}") from None
    finally:
        engine.dispose()


def _readable(url: URL) -> URL:
    """Return the URL of a SQLite file such that it is only read, and never made."""
    if url.get_backend_name() != "sqlite" or not url.database:
        return url
    path = Path(url.database).absolute()
    if not path.is_file():
        raise NoStudy(f"there is no file {path}")
    return url.set(database=f"file:{quote(path.as_posix())}", query={"mode": "ro", "uri": "true"})
