"""From each version of the schema to the next.

A step is the SQL that it was when it was written: the tables of today do not change it. It only
adds, with defaults, so that a driver of the version before, if one is at work, is not disturbed;
its next start asks for the newer schedd.
"""

from collections.abc import Mapping

from sqlalchemy import Engine, select, update

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
    ),
}
"""What leads from version n to n + 1, by n."""


def migrate(engine: Engine) -> None:
    """Bring the database up to the present version, in one transaction: all of it or nothing."""
    version = schema.schema_info.c.version
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        # Read under the lock: another process may have been faster.
        found = connection.execute(select(version)).scalar_one()
        for step in range(found, schema.VERSION):
            for statement in STEPS[step]:
                connection.exec_driver_sql(statement)
        if found < schema.VERSION:
            connection.execute(update(schema.schema_info).values(version=schema.VERSION))
