"""The verb that checks a machine: every line says what works or what to do about it."""

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

import click

from scheduler import registry
from scheduler.cli import common
from scheduler.model.definition import ExperimentDefinition
from scheduler.plugins import RegistryError
from scheduler.storage.engine import check_creatable
from scheduler.storage.errors import NoDatabase, StorageError
from scheduler.storage.store import Store

Finding = tuple[str, bool, str]
"""What was looked at, whether it works, and a sentence."""


@click.command()
@click.argument("file", type=click.Path(), required=False)
@common.storage_option
@common.json_option
@click.pass_context
def doctor(ctx: click.Context, file: str | None, storage: str | None, as_json: bool) -> None:
    """Check this machine, and say what will work.

    With an experiment's FILE its runner and its storage are checked. Exit status 1 where
    something does not work.
    """
    definition = common.load(file) if file else None
    found: list[Finding] = []
    for finding in _findings(definition, common.storage_url(storage, definition)):
        found.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        common.print_json([dict(zip(("check", "ok", "message"), f, strict=True)) for f in found])
    if not all(ok for _, ok, _ in found):
        ctx.exit(1)


def _print(finding: Finding) -> None:
    check, ok, message = finding
    click.echo(f"{common.mark(ok)} {check}: {message}")


def _findings(definition: ExperimentDefinition | None, url: str) -> Iterator[Finding]:
    yield "python", sys.version_info >= (3, 11), f"{sys.version.split()[0]}, {sys.executable}"
    yield _packages()
    yield _one_root()
    yield from _plugins()
    yield from _runner(definition)
    yield _storage(url)


def _packages() -> Finding:
    """Look whether what schedd needs is installed; nothing of it is imported."""
    needed = [text for text in requires("schedd") or () if ";" not in text]
    names = [_name(text) for text in needed]
    absent = [name for name in names if not _version(name)]
    if absent:
        return "packages", False, f"not installed: {', '.join(absent)}; pip install schedd again"
    return "packages", True, ", ".join(f"{name} {_version(name)}" for name in names)


def _name(requirement: str) -> str:
    """Return the name that a requirement such as ``torch>=2.4`` begins with."""
    end = next((i for i, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), None)
    return requirement[:end]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _one_root() -> Finding:
    """Look whether a folder of the user's own shadows one of our packages."""
    roots: dict[str, Path] = {}
    for name in ("scheduler", "runners", "metrics"):
        spec = find_spec(name)
        if spec is not None and spec.origin:
            roots[name] = Path(spec.origin).resolve().parents[1]
    if len(roots) == 3 and len(set(roots.values())) == 1:
        return "import path", True, f"scheduler, runners and metrics are in {roots['scheduler']}"
    found = ", ".join(f"{name} in {root}" for name, root in roots.items())
    advice = "rename what shadows it, or call the schedd script in place of python -m scheduler"
    return "import path", False, f"the three packages are not one: {found}; {advice}"


def _plugins() -> Iterator[Finding]:
    """Import every plugin that is installed."""
    kinds = (
        ("runners", registry.runner_names, registry.runner_class),
        ("metric fetchers", registry.fetcher_names, registry.fetcher_class),
        ("generators", registry.generator_names, registry.generator_class),
    )
    for what, names, load in kinds:
        good = []
        for name in names():
            try:
                load(name)
            except RegistryError as error:
                yield what, False, str(error)
            else:
                good.append(name)
        yield what, bool(good), ", ".join(good) or "none is installed; pip install schedd again"


def _runner(definition: ExperimentDefinition | None) -> Iterator[Finding]:
    """Let the runner check what it needs: the definition's, or the local one."""
    name = definition.runner.type if definition else "local"
    try:
        if definition:
            runner = registry.build_runner(definition, lambda: None)
        else:
            kind = registry.runner_class(name)
            runner = kind(kind.Options(), lambda: None)
        for ok, message in runner.check():
            yield f"runner {name}", ok, message
        runner.close()
    except Exception as error:  # any code of a third party runs here
        yield f"runner {name}", False, f"{type(error).__name__}: {error}"


def _storage(url: str) -> Finding:
    """Open the database as a driver would, or look whether one could be made."""
    try:
        store = Store.open(url)
        names = store.names()
        store.close()
    except NoDatabase:
        return _place(url)
    except StorageError as error:
        return "storage", False, str(error)
    return "storage", True, f"{store.url} holds {len(names)} experiments"


def _place(url: str) -> Finding:
    try:
        return "storage", True, check_creatable(url)
    except StorageError as error:
        return "storage", False, str(error)
