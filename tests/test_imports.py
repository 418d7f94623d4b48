"""What is imported, and what is not: start-up must stay quick and the daemon small."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "botorch", "gpytorch", "numpy", "scipy", "sklearn", "pandas"}
HEAVY |= {"kubernetes", "urllib3", "requests"}


def imported(statement: str) -> set[str]:
    """Return the top-level modules that a fresh process has after ``statement``."""
    code = f"{statement}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "scheduler",
        "scheduler.cli.drive",
        "scheduler.cli.show",
        "scheduler.outside",
        "scheduler.daemon",
        "scheduler.registry",
        "scheduler.generation.builtin",
        "scheduler.generation.worker",
        "scheduler.config.load",
        "runners.local",
        "runners.kubernetes",
        "metrics.jsonl",
    ],
)
def test_nothing_heavy_is_imported_outside_the_worker(module: str) -> None:
    assert not HEAVY & imported(f"import {module}")


def test_the_list_of_verbs_needs_click_alone() -> None:
    found = imported(
        "import contextlib, io, scheduler.cli as c\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    c.cli(['--help'], standalone_mode=False)"
    )
    assert "click" in found
    assert not (HEAVY | {"pydantic", "sqlalchemy", "yaml", "rich", "apscheduler"}) & found


def test_recording_a_metric_needs_no_more() -> None:
    found = imported("import scheduler.cli.record")
    assert not (HEAVY | {"pydantic", "sqlalchemy", "yaml", "rich", "apscheduler"}) & found


def test_the_front_door_is_lazy() -> None:
    assert "pydantic" not in imported("import scheduler")
    found = imported("from scheduler import Client, optimize")
    assert not (HEAVY | {"pydantic", "sqlalchemy", "yaml", "rich", "apscheduler"}) & found
    assert not HEAVY & imported("from scheduler import *")


def test_the_three_packages_have_one_root() -> None:
    import metrics
    import runners
    import scheduler

    roots = {module.__path__[0].rsplit("/", 1)[0] for module in (scheduler, runners, metrics)}
    assert len(roots) == 1
