"""From each version of the schema to the next.

A step is the SQL that it was when it was written: the tables of today do not change it. It only
adds, with defaults, so that a driver of the version before, if one is at work, is not disturbed;
its next start asks for the newer schedd. Its SQL is valid on every database that we can use;
PostgreSQL has known none of the versions before 3.
"""

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, select, update

from scheduler.storage import schema

STEPS: Mapping[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE generator_run ADD COLUMN insights TEXT DEFAULT '[]' NOT NULL",
        """
        CREATE TABLE warm_start (
            experiment_id INTEGER NOT NULL,
            position INTEGER NOT NULL,
            source TEXT NOT NULL,
            parameters TEXT NOT NULL,
            metrics TEXT NOT NULL,
            PRIMARY KEY (experiment_id, position),
            FOREIGN KEY(experiment_id) REFERENCES experiment (id)
        )
        """,
    ),
    2: (
        "ALTER TABLE trial ADD COLUMN released BOOLEAN DEFAULT FALSE NOT NULL",
        "ALTER TABLE trial ADD COLUMN avoid TEXT DEFAULT '[]' NOT NULL",
        "ALTER TABLE experiment ADD COLUMN paused BOOLEAN DEFAULT FALSE NOT NULL",
        "ALTER TABLE command ADD COLUMN payload TEXT DEFAULT '{}' NOT NULL",
        "ALTER TABLE lease ADD COLUMN expires_at FLOAT",
    ),
}
"""What leads from version n to n + 1, by n."""


def migrate(connection: Connection, keep_a_copy: Callable[[int], str]) -> str:
    """Bring the database up to the present version, in one transaction: all of it or nothing.

    Return what happened, in words; nothing where another process was faster. ``keep_a_copy`` is
    called before the first step, while nobody else can write; it says where the copy is.
    """
    version = schema.schema_info.c.version
    found = connection.execute(select(version).with_for_update()).scalar_one()
    if found >= schema.VERSION:
        return ""
    copy = keep_a_copy(found)
    for step in range(found, schema.VERSION):
        for statement in STEPS[step]:
            connection.exec_driver_sql(statement)
    connection.execute(update(schema.schema_info).values(version=schema.VERSION))
    return f"brought from schema version {found} to {schema.VERSION}{copy}"
