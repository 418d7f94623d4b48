"""Each bad YAML, the exact sentence it leads to, and where; good ones and what they mean."""

import pytest

from scheduler import plugins, registry
from scheduler.config.errors import ConfigError
from scheduler.config.load import load_file, load_text
from scheduler.config.schema import schema

GOOD = """\
name: tune
parameters:
  - {name: x, type: range, bounds: [0, 1]}
  - {name: n, type: range, bounds: [0, 10], parameter_type: int}
  - {name: opt, type: choice, values: [sgd, adam]}
objective: -loss
runner: {command: [python, t.py]}
"""


def load(text, **environment):
    return load_text(text, "e.yaml", registry, environment=environment)


def errors(text, **environment):
    with pytest.raises(ConfigError) as error:
        load(text, **environment)
    return str(error.value).split("\n")


def test_a_good_file_loads():
    assert load(GOOD).by_name.keys() == {"x", "n", "opt"}


APPENDED = [
    # names of other tools
    ("parallelTrialCount: 3", "8:1: there is no key 'parallelTrialCount'; "
     "write trials: {max_pending_trials: N}"),
    ("maxTrialCount: 3", "8:1: there is no key 'maxTrialCount'; write trials: {total_trials: N}"),
    ("n_trials: 3", "8:1: there is no key 'n_trials'; write trials: {total_trials: N}"),
    ("direction: min", "8:1: there is no key 'direction'; "
     "write minimize: true or minimize: false"),
    ("trials: {max_concurrent_trials: 3}", "8:10: there is no key 'max_concurrent_trials' "
     "in trials; write trials: {max_pending_trials: N}"),
    # what is to come
    ("notifications: [{events: [new_best], type: webhook}]", "8:17: a webhook has either url_env "
     "or url_file, and no command"),
    ("notifications: [{events: [new_bset], type: command, command: [x]}]", "8:27: "
     "notifications[0].events[0] must be new_best, trial_failed, stalled, moving_again, stopped "
     "or completed, not 'new_bset'"),
    ("failures: {log_policies: [{name: a, pattern: '(', action: retry}]}", "8:46: '(' is not a "
     "regular expression: missing ), unterminated subpattern at position 0"),
    ("failures:\n  log_policies:\n    - {name: a, pattern: b, action: retry}\n"
     "    - {name: a, pattern: c, action: fail}", "11:14: there are two log policies called 'a'"),
    ("failures: {log_policies: [{name: a b, pattern: b, action: retry}]}", "8:34: "
     "failures.log_policies[0].name must be a letter, then at most 39 letters, digits, '_' or "
     "'-', not 'a b'"),
    ("stopping_criteria:\n  max_cost: {gpu_hours: 4}", "9:3: the key 'max_cost' in "
     "stopping_criteria is not implemented yet; remove it"),
    # misspelt
    ("tirals: {}", "8:1: there is no key 'tirals'; did you mean 'trials'?"),
    ("polling: {intervall: 3}", "8:11: there is no key 'intervall' in polling; "
     "did you mean 'interval'?"),
    ("polling: {x: 3}", "8:11: there is no key 'x' in polling; the keys are interval"),
    ("generation_strategy: {nodes: [{generator: sobl}]}", "8:43: there is no generator called "
     "'sobl'; did you mean 'sobol'?"),
    ("generation_strategy: {nodes: [{generator: tpe}]}", "8:43: there is no generator called "
     "'tpe'; there is botorch, grid, random, saasbo, sobol, thompson, turbo; botorch is "
     "the one that learns"),
    ("generation_strategy: {nodes: [{generator: grid, options: {level: 3}}]}", "8:59: there is "
     "no key 'level' in generation_strategy.nodes[0].options; did you mean 'levels'?"),
    ("generation_strategy: {method: fast, nodes: [{generator: grid}]}", "8:31: there are both "
     "method and nodes; give one of them"),
    ("generation_strategy: {method: bayes}", "8:31: generation_strategy.method must be fast, "
     "quality or random_search, not 'bayes'; write fast"),
    ("generation_strategy: {nodes: [{generator: sobol}, {generator: botorch}]}", "8:31: only the "
     "last node may leave out num_trials and transition_criteria: no later one would be reached"),
    ("generation_strategy: {nodes: [{generator: sobol, num_trials: 3, transition_criteria: "
     "{num_trials: 3}}]}", "8:99: num_trials is given twice; leave it out of the "
     "transition_criteria"),
    ("outcome_constraints: [los <= 3]\nmetrics: {loss: {}}", "8:23: 'los' is not among the "
     "metrics; did you mean 'loss'?"),
    # types and limits
    ("trials: {total_trials: 0}", "8:24: trials.total_trials must be at least 1, not 0"),
    ("trials: {total_trials: many}", "8:24: trials.total_trials must be a whole number, "
     "not 'many'"),
    ("trials: {replicates: }", "8:22: trials.replicates is empty but must be a whole number"),
    ("trials: {ttl: 3 parsecs}", "8:15: '3 parsecs' is not a duration; write for example 30s, "
     "10m, 6h or 2d"),
    ("polling: {interval: 0}", "8:21: polling.interval must be above 0, not 0"),
    ("tags: {a: 1}", "8:11: tags.a must be text, not 1; put it in quotes"),
    ("arms: 3", "8:7: arms must be a list, not 3; write [a, b] or one '- item' per line"),
    ("trials: 3", "8:9: trials must be a mapping of keys to values, not 3"),
    ("schema: v2", "8:9: schema must be schedd/v1, not 'v2'"),
    # constraints
    ("parameter_constraints: [x + y <= 1]", "8:25: the constraint names 'y', which is not a "
     "parameter"),
    ("parameter_constraints: [opt <= 1]", "8:25: the constraint names 'opt', a choice parameter; "
     "only range parameters can be constrained"),
    ("parameter_constraints: [x <= ]", "8:25: cannot read 'x <=' in 'x <=' as a linear term; "
     "write for example '2 * warmup <= epochs' or 'a + b - 0.5 * c <= 10'"),
    ("parameter_constraints: [x + n <= -1]", "8:25: no point of the search space satisfies "
     "'x + n <= -1'; relax it or widen the bounds"),
    ("parameter_constraints: [n <= 9, x + n >= 10.5]", "8:25: no point of the search space "
     "satisfies 'n <= 9' and 'x + n >= 10.5'; relax it or widen the bounds"),
    ("parameter_constraints: [x <= 1, 2*n <= 3.5, 2*n >= 3.2]", "8:33: no point of the search "
     "space satisfies '2*n <= 3.5' and '2*n >= 3.2'; relax it or widen the bounds"),
    ("status_quo: {parameters: {x: 0, n: 1, opt: rms}}", "8:26: opt = 'rms' is not one of "
     "'sgd', 'adam'"),
    # plugins
    ("metrics: {loss: {fetcher: {type: jsn}}}", "8:34: there is no metric fetcher called 'jsn'; "
     "did you mean 'json'?"),
    # YAML
    ("name: b", "8:1: the key 'name' is given twice; the first is in line 1"),
    ("tags: &a {}", "8:7: anchors are not allowed; remove &a"),
    ("tags: *a", "8:7: aliases are not allowed; write out what *a stands for"),
    ("<<: {}", "8:1: merge keys are not allowed; write the keys out"),
    ("tags: !!map {}", "8:7: tags are not allowed; remove 'tag:yaml.org,2002:map'"),
    ("1: {}", "8:1: the key 1 is not text; put it in quotes"),
    ("description: a: b", "8:15: this is not YAML: mapping values are not allowed in this "
     "context; a value that holds ': ' must be in quotes"),
    ("---\na: 1", "8:1: a second document begins here; one file holds one experiment"),
    ("description: 9007199254740993", "8:14: 9007199254740993 is beyond 2**53, so a float "
     "cannot hold it; quote it if it is text"),
    ("storage: ${NOPE}", "8:10: the environment variable NOPE is not set; set it, or write "
     "${NOPE:-default} for a default"),
    ("storage: ${NO", "8:10: '${' begins a reference such as ${NAME} or ${NAME:-default}; "
     "write '$${' for the characters themselves"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "message"), APPENDED, ids=[line for line, _ in APPENDED])
def test_a_bad_line_is_one_sentence_with_its_place(line, message):
    assert errors(GOOD + line + "\n") == ["e.yaml:" + message]


REPLACED = [
    ("name: tune", "name: Tune_", "1:7: name must be 1 to 40 characters from a-z, 0-9 and '-', "
     "with a letter or digit at both ends, not 'Tune_'"),
    ("name: tune\n", "", "1:1: the file lacks the key 'name'"),
    ("objective: -loss\n", "", "1:1: there is neither objective nor objectives; give one of them"),
    ("type: range, bounds: [0, 1]", "type: loguniform", "3:21: parameters[0].type must be range, "
     "choice, fixed or derived, not 'loguniform'; write type: range with bounds: [lower, upper] "
     "and scaling: log"),
    ("type: range, bounds: [0, 1]", "type: rang", "3:21: parameters[0].type must be range, "
     "choice, fixed or derived, not 'rang'; did you mean 'range'?"),
    ("type: range, bounds: [0, 1]", "bounds: [0, 1]", "3:5: parameters[0] lacks the key 'type'; "
     "write type: range"),
    ("bounds: [0, 1]", "bounds: [1]", "3:36: parameters[0].bounds needs 2 items"),
    ("bounds: [0, 1]", "bounds: [0, .inf]", "3:40: parameters[0].bounds[1] must be finite, "
     "not inf"),
    ("bounds: [0, 1]", "bounds: [1, 0]", "3:5: bounds of x must rise, but 1 is not below 0"),
    ("bounds: [0, 1]", "bounds: [0, 1], is_fidelity: true", "3:44: the key "
     "'is_fidelity' in parameters[0] is not implemented yet; remove it"),
    ("[sgd, adam]", "[1, true]", "5:5: values of opt must be all numbers, all text, or all true "
     "and false"),
    ("name: n,", "name: X,", "4:12: 'x' and 'X' would both be SCHEDD_PARAM_X in the environment; "
     "rename one of them"),
    ("-loss", "{metric: loss, mode: min}", "6:27: there is no key 'mode' in objective; write "
     "minimize: true or minimize: false"),
    ("-loss", "{metric: loss, minimize: min}", "6:37: objective.minimize must be true or false, "
     "not 'min'"),
    ("[python, t.py]", "python t.py", "7:19: runner.command must be a list, not 'python t.py'; "
     "write [python, train.py]; a shell line is not accepted"),
    ("[python, t.py]", "[]", "7:19: runner.command must not be empty"),
    ("t.py]", "{params.x}]", "7:28: runner.command[1] must be text, not a mapping; write "
     "'{params.x}' in quotes, for braces begin a mapping"),
    ("t.py", "'{params.xx}'", "7:28: {params.xx} is not a placeholder; did you mean 'params.x'?"),
    ("t.py", "'{x}'", "7:28: {x} is not a placeholder; did you mean {params.x}?"),
    ("{command", "{resources: {cpus: 2}, command", "7:21: the runner 'local' reserves no "
     "resources; remove them"),
    ("{command", "{resources: {cpu: 2}, command", "7:22: there is no key 'cpu' in "
     "runner.resources; did you mean 'cpus'?"),
    ("{command", "{staging_required: true, command", "7:28: the runner 'local' cannot hold "
     "jobs; remove staging_required"),
    ("{command", "{env: {b-c: d}, command", "7:21: 'b-c' cannot name an environment variable; "
     "use letters, digits and _"),
    ("  - {name: n", "\t- {name: n", "4:1: a tab cannot indent in YAML; use spaces"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), REPLACED, ids=[row[1] for row in REPLACED])
def test_a_bad_value_is_one_sentence_with_its_place(old, new, message):
    assert errors(GOOD.replace(old, new, 1)) == ["e.yaml:" + message]


def test_all_mistakes_are_reported_in_order():
    text = GOOD.replace("name: tune", "name: Tune") + "tirals: {}\npolling: {interval: x}\n"
    assert [line.split(": ")[0] for line in errors(text)] == [
        "e.yaml:1:7",
        "e.yaml:8:1",
        "e.yaml:9:21",
    ]


def test_a_file_of_katib_is_recognized():
    text = "apiVersion: kubeflow.org/v1beta1\nkind: Experiment\nspec: {maxTrialCount: 3}\n"
    assert "e.yaml:3:1: there is no key 'spec'; write its keys at the top level" in errors(text)


def test_environment_variables_are_filled_in_once():
    text = GOOD + "storage: ${DB:-sqlite:///x.db}\ntags: {a: '${A}', b: '$${A}'}\n"
    text += "trials:\n  total_trials: ${N}\n"
    definition = load(text, A="${N}", N="7")
    assert definition.storage == "sqlite:///x.db"
    assert definition.tags == {"a": "${N}", "b": "${A}"}
    assert definition.trials.total_trials == 7


def test_words_of_yaml_1_1_are_text():
    text = GOOD.replace("[sgd, adam]", "[on, no, 1:30]").replace("[0, 1]", "[1e-5, 010]")
    definition = load(text)
    assert definition.by_name["opt"].values == ("on", "no", "1:30")
    assert definition.by_name["x"].bounds == (1e-5, 10)


def test_folders_are_relative_to_the_file(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text(GOOD)
    assert load_file(path).runner.workdir == str(tmp_path)
    path.write_text(GOOD.replace("{command", "{workdir: ../src, trials_dir: t, command"))
    runner = load_file(path).runner
    assert (runner.workdir, runner.trials_dir) == (
        str(tmp_path.parent / "src"),
        str(tmp_path / "t"),
    )


def test_canonical_json_is_a_file_that_loads_as_the_same_experiment():
    definition = load(GOOD + "parameter_constraints: [x + n <= 7]\n")
    assert load(definition.canonical()) == definition


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "there is no such file"),
        (lambda p: p.mkdir(), "this is a folder; name the YAML file in it"),
        (lambda p: p.write_text(""), "the file is empty; `schedd init` writes one to start from"),
        (lambda p: p.write_bytes(b"\x7fELF\0"), "this is a binary file, not YAML text"),
        (
            lambda p: p.write_bytes(b"#" * (2**20 + 1)),
            "the file is larger than 1 MiB, the most an experiment may have",
        ),
    ],
)
def test_a_file_that_is_none_is_one_sentence(tmp_path, make, message):
    path = tmp_path / "e.yaml"
    make(path)
    with pytest.raises(ConfigError) as error:
        load_file(path)
    assert str(error.value) == f"{path}: {message}"


def test_a_plugin_that_does_not_import_is_one_sentence(monkeypatch):
    from importlib.metadata import EntryPoint

    broken = EntryPoint("bad", "nowhere_to_be_found:Runner", plugins.RUNNERS)
    found = {
        plugins.RUNNERS: {"bad": broken},
        plugins.METRICS: plugins.plugins(plugins.METRICS),
    }
    monkeypatch.setattr(plugins, "plugins", found.__getitem__)
    assert errors(GOOD.replace("{command", "{type: bad, command")) == [
        "e.yaml:7:16: the runner 'bad' (nowhere_to_be_found:Runner) does not import: "
        "ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    ]


def test_the_schema_knows_the_text_forms():
    definitions = schema()["$defs"]
    for name in ("Objective", "OutcomeConstraint", "ParameterConstraint"):
        assert definitions[name]["anyOf"][0]["type"] == "string"
