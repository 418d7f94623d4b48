"""The tables. Times are seconds since the epoch, UTC; structured values are canonical JSON.

PostgreSQL enforces what SQLite only notes, so there a number is wide and a text has any length; it
is compared byte by byte, whatever the server's locale.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

VERSION = 3
"""Of this schema; stored in ``schema_info`` and checked whenever a database is opened."""

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def _short(length: int) -> String:
    """Return the type of a text that is short as a rule."""
    return String(length).with_variant(Text(collation="C"), "postgresql")


metadata = MetaData()

schema_info = Table("schema_info", metadata, Column("version", _NUMBER, nullable=False))

experiment = Table(
    "experiment",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("name", _short(64), nullable=False, unique=True),
    Column("token", _short(16), nullable=False),
    Column("definition", Text, nullable=False),
    Column("trials_dir", Text, nullable=False),
    Column("status", _short(16), nullable=False),
    Column("stop", Text),
    Column("created_at", Float, nullable=False),
    Column("paused", Boolean, nullable=False, server_default=text("FALSE")),
)


def _of_experiment(primary: bool = True) -> Column[int]:
    """Return the column that says which experiment a row belongs to."""
    return Column(
        "experiment_id", _NUMBER, ForeignKey("experiment.id"), primary_key=primary, nullable=False
    )


lease = Table(
    "lease",
    metadata,
    _of_experiment(),
    Column("epoch", _NUMBER, nullable=False),
    Column("holder", Text, nullable=False),
    Column("clock", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("expires_at", Float),
)
"""``expires_at``: by the database's clock; empty once released, and where a lock does its work."""

trial = Table(
    "trial",
    metadata,
    _of_experiment(),
    Column("index", _NUMBER, primary_key=True),
    Column("status", _short(16), nullable=False),
    Column("generator_run", _NUMBER),
    Column("node", _NUMBER),
    Column("attempt", _NUMBER, nullable=False),
    Column("job_id", Text),
    Column("job_state", _short(16)),
    Column("exit_code", _NUMBER),
    Column("reason", _short(64)),
    Column("message", Text, nullable=False),
    Column("not_before", Float, nullable=False),
    Column("wish", Text),
    Column("retries", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("staged_at", Float),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("completed_at", Float),
    Column("released", Boolean, nullable=False, server_default=text("FALSE")),
    Column("avoid", Text, nullable=False, server_default="[]"),
    Index("trial_by_status", "experiment_id", "status"),
)

arm = Table(
    "arm",
    metadata,
    _of_experiment(),
    Column("trial_index", _NUMBER, primary_key=True),
    Column("position", _NUMBER, primary_key=True),
    Column("name", _short(80), nullable=False),
    Column("parameters", Text, nullable=False),
    Column("weight", Float, nullable=False),
)

generator_run = Table(
    "generator_run",
    metadata,
    _of_experiment(),
    Column("index", _NUMBER, primary_key=True),
    Column("node", _NUMBER, nullable=False),
    Column("generator", _short(64), nullable=False),
    Column("seed", _NUMBER, nullable=False),
    Column("cursor", _NUMBER, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("predictions", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("insights", Text, nullable=False, server_default="[]"),
)

warm_start = Table(
    "warm_start",
    metadata,
    _of_experiment(),
    Column("position", _NUMBER, primary_key=True),
    Column("source", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("metrics", Text, nullable=False),
)
"""Arms that were measured elsewhere, before the experiment began; written once."""

observation = Table(
    "observation",
    metadata,
    _of_experiment(),
    Column("trial_index", _NUMBER, primary_key=True),
    Column("arm_name", _short(80), primary_key=True),
    Column("metric", _short(128), primary_key=True),
    Column("attempt", _NUMBER, nullable=False),
    Column("mean", Float, nullable=False),
    Column("sem", Float),
)

curve = Table(
    "curve",
    metadata,
    _of_experiment(),
    Column("trial_index", _NUMBER, primary_key=True),
    Column("attempt", _NUMBER, primary_key=True),
    Column("arm_name", _short(80), primary_key=True),
    Column("metric", _short(128), primary_key=True),
    Column("step", Float, primary_key=True),
    Column("mean", Float, nullable=False),
    Column("sem", Float),
)

event = Table(
    "event",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    _of_experiment(primary=False),
    Column("time", Float, nullable=False),
    Column("kind", _short(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("trial_index", _NUMBER),
    Column("attempt", _NUMBER),
    Index("event_by_trial", "experiment_id", "trial_index"),
)

command = Table(
    "command",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    _of_experiment(primary=False),
    Column("verb", _short(16), nullable=False),
    Column("trial_index", _NUMBER),
    Column("reason", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("applied_at", Float),
    Column("payload", Text, nullable=False, server_default="{}"),
    Index("command_to_apply", "experiment_id", "applied_at"),
)
