"""The tables. Times are seconds since the epoch, UTC; structured values are canonical JSON."""

from sqlalchemy import (
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

metadata = MetaData()

schema_info = Table("schema_info", metadata, Column("version", Integer, nullable=False))

experiment = Table(
    "experiment",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("token", String(16), nullable=False),
    Column("definition", Text, nullable=False),
    Column("trials_dir", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("stop", Text),
    Column("created_at", Float, nullable=False),
    Column("paused", Boolean, nullable=False, server_default=text("FALSE")),
)


def _of_experiment(primary: bool = True) -> Column[int]:
    """Return the column that says which experiment a row belongs to."""
    return Column(
        "experiment_id", Integer, ForeignKey("experiment.id"), primary_key=primary, nullable=False
    )


lease = Table(
    "lease",
    metadata,
    _of_experiment(),
    Column("epoch", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    Column("clock", Text, nullable=False),
    Column("seconds", Float, nullable=False),
)

trial = Table(
    "trial",
    metadata,
    _of_experiment(),
    Column("index", Integer, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("generator_run", Integer),
    Column("node", Integer),
    Column("attempt", Integer, nullable=False),
    Column("job_id", Text),
    Column("job_state", String(16)),
    Column("exit_code", Integer),
    Column("reason", String(64)),
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
    Column("trial_index", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", String(80), nullable=False),
    Column("parameters", Text, nullable=False),
    Column("weight", Float, nullable=False),
)

generator_run = Table(
    "generator_run",
    metadata,
    _of_experiment(),
    Column("index", Integer, primary_key=True),
    Column("node", Integer, nullable=False),
    Column("generator", String(64), nullable=False),
    Column("seed", Integer, nullable=False),
    Column("cursor", Integer, nullable=False),
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
    Column("position", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("metrics", Text, nullable=False),
)
"""Arms that were measured elsewhere, before the experiment began; written once."""

observation = Table(
    "observation",
    metadata,
    _of_experiment(),
    Column("trial_index", Integer, primary_key=True),
    Column("arm_name", String(80), primary_key=True),
    Column("metric", String(128), primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("mean", Float, nullable=False),
    Column("sem", Float),
)

curve = Table(
    "curve",
    metadata,
    _of_experiment(),
    Column("trial_index", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("arm_name", String(80), primary_key=True),
    Column("metric", String(128), primary_key=True),
    Column("step", Float, primary_key=True),
    Column("mean", Float, nullable=False),
    Column("sem", Float),
)

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    _of_experiment(primary=False),
    Column("time", Float, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("trial_index", Integer),
    Column("attempt", Integer),
    Index("event_by_trial", "experiment_id", "trial_index"),
)

command = Table(
    "command",
    metadata,
    Column("id", Integer, primary_key=True),
    _of_experiment(primary=False),
    Column("verb", String(16), nullable=False),
    Column("trial_index", Integer),
    Column("reason", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("applied_at", Float),
    Column("payload", Text, nullable=False, server_default="{}"),
    Index("command_to_apply", "experiment_id", "applied_at"),
)
