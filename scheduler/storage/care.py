"""Whether a database is sound: what it says of itself, and whether what is stored fits."""

from collections.abc import Iterator

from pydantic import ValidationError
from sqlalchemy import Connection, func, select

from scheduler.model.definition import ExperimentDefinition
from scheduler.storage import schema
from scheduler.storage.database import Database

Finding = tuple[bool, str]
"""Whether it is well, and a sentence."""

_ASTRAY = {
    "trials have no arm": """
        SELECT count(*) FROM trial t WHERE NOT EXISTS (SELECT 1 FROM arm a
        WHERE a.experiment_id = t.experiment_id AND a.trial_index = t."index")""",
    "arms are of no trial": """
        SELECT count(*) FROM arm a WHERE NOT EXISTS (SELECT 1 FROM trial t
        WHERE t.experiment_id = a.experiment_id AND t."index" = a.trial_index)""",
    "observations are of no arm": """
        SELECT count(*) FROM observation o WHERE NOT EXISTS (SELECT 1 FROM arm a
        WHERE a.experiment_id = o.experiment_id AND a.trial_index = o.trial_index
        AND a.name = o.arm_name)""",
}
"""What no transaction of ours leaves behind, in the SQL of all versions and databases."""


def findings(database: Database) -> Iterator[Finding]:
    """Yield what was looked at; nothing is changed. Raises StorageError."""
    yield from database.ask_health()
    version = database.version()
    if version < schema.VERSION:
        yield True, f"schema version {version}; schedd db upgrade brings it to {schema.VERSION}"
    else:
        yield True, f"schema version {version}, the present one"
    with database.reading() as connection:
        unsound = [*_unreadable(connection), *_astray(connection)]
        counts = [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (schema.experiment, schema.trial)
        ]
    yield from ((False, text) for text in unsound)
    if not unsound:
        yield True, "{} experiments with {} trials fit together".format(*counts)


def _unreadable(connection: Connection) -> Iterator[str]:
    c = schema.experiment.c
    for name, definition in connection.execute(select(c.name, c.definition)):
        try:
            ExperimentDefinition.model_validate_json(definition)
        except ValidationError:
            yield f"the definition of {name} is none that this schedd can read"


def _astray(connection: Connection) -> Iterator[str]:
    for what, query in _ASTRAY.items():
        count = connection.exec_driver_sql(query).scalar_one()
        if count:
            yield f"{count} {what}"
