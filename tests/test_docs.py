"""What the documents show is run, loaded or compared."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from cli_bench import on_both, process, schedd
from diagram import diagram
from insight_bench import finished
from places import storage, urls

from scheduler import Client, Experiment, cli, registry
from scheduler.config.load import load_text
from scheduler.config.schema import schema
from scheduler.python.remote import RemoteClient

__all__ = ["finished", "on_both", "schedd", "storage", "urls"]

ROOT = Path(__file__).parent.parent
BASE = {
    "schema": "schedd/v1",
    "name": "base",
    "parameters": [{"name": "lr", "type": "range", "bounds": [0.0, 1.0]}],
    "objective": "-val_loss",
    "runner": {"command": ["true"]},
}


def blocks(path: str, language: str) -> list[str]:
    """Return the code blocks of a document in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / path).read_text(), re.DOTALL)


def test_the_state_diagram_is_the_table_of_transitions() -> None:
    assert diagram() in (ROOT / "scheduler/README.md").read_text()


def test_the_readme_experiment_runs_with_the_commands_shown(storage, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(blocks("README.md", "python")[0])
    (tmp_path / "experiment.yaml").write_text(blocks("README.md", "yaml")[0])
    commands = next(b for b in blocks("README.md", "sh") if "schedd run" in b).splitlines()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in commands:
        if command.startswith("schedd "):
            done = subprocess.run(
                command.split(),
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert "10_0" not in done.stdout
    assert "9_0" in done.stdout


def test_the_readme_names_every_verb_with_its_purpose() -> None:
    text = (ROOT / "README.md").read_text()
    for verb in cli.VERBS:
        assert f"`schedd {verb}" in text


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help_that_begins_with_its_line(verb: str) -> None:
    command = cli.cli.get_command(click.Context(cli.cli), verb)
    assert command is not None
    assert (command.help or "").startswith(cli.VERBS[verb][1])


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # gpytorch's import
def test_what_the_model_tells_is_told_as_shown(schedd, on_both) -> None:
    lines = [line for block in blocks("docs/insight.md", "sh") for line in block.splitlines()]
    commands = [line.partition("#")[0].split() for line in lines]
    assert {command[1] for command in commands} == {"explain", "diagnose", "best"}
    for command in commands:
        assert command[0] == "schedd"
        status, out, err = schedd(*command[1:])
        assert (status, err) == (0, ""), command
        assert out


FILE_OF_A_USER, HANDING = (b for b in blocks("docs/python.md", "python") if "Furnace" in b)
PROGRAMS = [
    block
    for block in (*blocks("docs/python.md", "python"), blocks("README.md", "python")[1])
    if block not in (FILE_OF_A_USER, HANDING)
]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # gpytorch's import
@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_every_program_of_the_doors_for_python_runs(number: int, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    named: dict[str, object] = {"__name__": "__main__"}
    exec(compile(PROGRAMS[number], "the document", "exec"), named)
    made = named.get("client") or named["experiment"]
    assert isinstance(made, Client | Experiment)
    rows = [row for row in made.get_trials() if row["arm_name"] != "status_quo"]
    assert len(rows) >= 3
    assert all(row["trial_status"] == "COMPLETED" for row in rows)
    made.close()


def test_a_scheduler_is_handed_over_and_a_file_names_its_classes_as_shown(tmp_path) -> None:
    (tmp_path / "lab.py").write_text(FILE_OF_A_USER)
    (tmp_path / "program.py").write_text(HANDING)
    (file,) = blocks("docs/python.md", "yaml")
    (tmp_path / "again.yaml").write_text(file)
    subprocess.run([sys.executable, "program.py"], cwd=tmp_path, check=True)
    for words in (("resume", "bake"), ("run", "again.yaml"), ("status",)):
        done = process(tmp_path, *words, "--storage", "sqlite:///bake.db")
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 trials") == 2, done.stdout


def test_the_program_over_http_names_two_servers() -> None:
    named: dict[str, object] = {}
    exec(compile(blocks("docs/http.md", "python")[0], "the document", "exec"), named)
    assert isinstance(named["client"], RemoteClient)
    assert named["client"].session.transport.url == "http://127.0.0.1:8321"


@pytest.mark.parametrize("number", range(len(blocks("docs/experiment.md", "yaml"))))
def test_every_block_of_the_reference_loads(number: int) -> None:
    """A block stands in a file whose other keys come from the blocks it refers to."""
    shown = [yaml.safe_load(text) for text in blocks("docs/experiment.md", "yaml")]
    block = shown[number]
    merged = {**BASE, "parameters": next(b["parameters"] for b in shown if "parameters" in b)}
    if "parameter_constraints" not in block:
        merged |= {k: v for b in shown for k, v in b.items() if k == "metrics"}
    merged |= block
    if "objectives" in block:
        merged.pop("objective")
    text = re.sub(r"\b(\d)e-(\d+)\b", r"\1.0e-\2", yaml.safe_dump(merged))
    assert load_text(text, "reference", registry)


def test_the_reference_explains_every_key() -> None:
    text = (ROOT / "docs/experiment.md").read_text()
    names = set(schema()["properties"])
    for definition in schema()["$defs"].values():
        names |= set(definition.get("properties", {}))
    assert not {name for name in names if name not in text}


def test_the_editor_schema_beside_the_examples_is_current() -> None:
    import json

    assert json.loads((ROOT / "configs/experiment.schema.json").read_text()) == schema()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_names_the_editor_schema(path: Path) -> None:
    assert path.read_text().startswith("# yaml-language-server: $schema=experiment.schema.json\n")
