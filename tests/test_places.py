"""What keeps experiments is tested on both kinds of database, or it is said here why not."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

HERE = Path(__file__).parent
KEEPS = re.compile(
    r"scheduler\.cli import main|cli_bench|\bStore\b|simulation.bench import Bench|"
    r"\bin_database\b|"
    r"^from scheduler import (\(|.*(Client|Experiment|optimize))",
    re.MULTILINE,
)
BOTH = re.compile(r"^from places import|\bon_both\b|\bKINDS\b", re.MULTILINE)
ONE_FILE = re.compile(r"sqlite:///|schedd\.db")
RUNNERS = (
    "a runner is its subject, which knows no database; test_loop.py and test_alive.py have both"
)

ON_SQLITE_ALONE = {
    # whole files
    "test_configs.py": RUNNERS,
    "test_kubernetes_*.py": RUNNERS,
    "test_slurm*.py": RUNNERS,
    "test_generator_plugins.py": "the worker process is its subject, which knows no database",
    "test_migrations.py": "what was released before there was PostgreSQL",
    "test_sqlite.py": "what a file can suffer and a server cannot: the half of test_postgres.py",
    "test_sweep.py": "system calls around a file; test_postgres.py cuts each message to a server",
    "test_systemd.py": "the unit is its subject; a server's URL comes by a credential there",
    "test_units.py": "units are written, and nothing is opened",
    "test_config.py": "definitions are read, and nothing is opened",
    # tests and what they stand on
    "test_cli_drive.py::test_plan_is_what_run_then_does_and_leaves_no_trace": "what ran before",
    "test_cli_errors.py::test_doctor": "a folder that is not there",
    "test_db.py::copy": "a file is copied and spoilt",
    "test_db.py::test_an_older_database_is_checked_and_copied_as_it_is_and_upgraded_when_asked": (
        "there was no PostgreSQL in version 1"
    ),
    "test_db.py::test_a_verb_says_that_it_upgraded_on_standard_error": "nor in version 2",
    "test_db.py::test_the_commands_shown_do_what_is_said": "a copy of a server is no database",
    "test_docs.py::test_a_scheduler_is_handed_over_and_a_file_names_its_classes_as_shown": (
        "it is done as shown"
    ),
    "test_program.py::handing": "nothing is handed over, so nothing is kept",
    "test_faults.py::some": "a file is spoilt, or may not be written",
    "test_faults.py::damaged": "a file is spoilt",
    "test_faults.py::no_database": "a file is spoilt",
    "test_import_verb.py::test_a_command_that_is_not_known_is_not_run": "no file appears",
    "test_import_verb.py::test_a_database_is_read_by_its_url_and_left_as_it_is": "Optuna's file",
    "test_notify.py::test_a_run_tells_and_keeps_the_secret": "the file is looked through as well",
    "test_owner.py::is_refused": "the message names the file that came first",
    "test_serve.py::test_a_client_of_a_server_does_and_says_what_a_local_one_does": (
        "what is behind the server it is compared with does not matter"
    ),
    "test_serve.py::test_the_server_is_as_it_is_described": "bodies and statuses are its subject",
    "test_service.py::test_a_file_that_is_wrong_is_not_submitted": "no file appears",
    "test_transfer.py::test_it_goes_between_databases_and_is_driven_there": "where it comes from",
    "test_transfer.py::test_what_is_no_whole_export_leaves_nothing": "where it comes from",
    "test_warm_start.py::test_a_source_that_is_not_there_is_a_sentence_and_nothing_is_stored": (
        "no file is there"
    ),
    "test_warm_start.py::test_a_model_proposes_the_first_arm_of_one_that_begins_with_enough": (
        "no file appears"
    ),
}


def named(name: str) -> bool:
    return any(fnmatch(name, each) for each in ON_SQLITE_ALONE)


def unnamed(path: Path) -> Iterator[str]:
    """Yield what keeps experiments in a file alone, and is not said to."""
    text = path.read_text()
    if named(path.name):
        return
    if KEEPS.search(text) and not BOTH.search(text):
        yield path.name
    for each in ast.parse(text).body:
        source = ast.get_source_segment(text, each) or ""
        if isinstance(each, ast.FunctionDef) and ONE_FILE.search(source):
            yield f"{path.name}::{each.name}"


def test_what_is_tested_on_sqlite_alone_says_why():
    found = {
        n
        for path in HERE.glob("test_*.py")
        if path != HERE / "test_places.py"
        for n in unnamed(path)
    }
    assert found == {name for name in ON_SQLITE_ALONE if "::" in name}
    assert [n for n in ON_SQLITE_ALONE if not [*HERE.glob(n.partition("::")[0])]] == []
