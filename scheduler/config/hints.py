"""Words that users of other tools would type, and keys that are still to come."""

from collections.abc import Mapping

_RANGE = "write type: range with bounds: [lower, upper]"
_LOG = f"{_RANGE} and scaling: log"
_WHOLE = f"{_RANGE} and parameter_type: int"
_STEP = f"{_RANGE} and a step_size"
_CHOICE = "write type: choice with values: [...]"
_PENDING = "write trials: {max_pending_trials: N}"
_TOTAL = "write trials: {total_trials: N}"
_MINIMIZE = "write minimize: true or minimize: false"
_OBJECTIVE = "write objective: {metric: NAME, minimize: true}"
_PARAMETERS = "write parameters: a list of {name: ..., type: range, bounds: [...]}"
_STRATEGY = "write generation_strategy: {nodes: [{generator: sobol, num_trials: 8}, ...]}"
_COMMAND = "write runner: {command: [python, train.py, '{params.lr}']}"
_RETRIES = "write failures: {retries: {error: N}}"
_TIMEOUT = "write stopping_criteria: {timeout: 6h}"
_STOP = "write stopping_criteria: {goal: {metric: NAME, value: X}}"
_FAILED = "write failures: {tolerated_trial_failure_rate: 0.5}"


def _same(hint: str, *words: str) -> dict[str, str]:
    return dict.fromkeys(words, hint)


def simplified(word: str) -> str:
    """Return a key without case, underscores and hyphens, as the tables below have it."""
    return word.replace("_", "").replace("-", "").lower()


FOREIGN_KEYS: Mapping[str, str] = {
    **_same(
        _PENDING,
        *("paralleltrialcount", "trialconcurrency", "maxconcurrenttrials", "maxconcurrent"),
        *("njobs", "concurrency", "maxparallelism", "maxparalleltrials", "parallelism", "workers"),
    ),
    **_same(
        _TOTAL,
        *("maxtrialcount", "maxtrialnumber", "ntrials", "numsamples", "maxtrials", "numtrials"),
        *("budget", "runcap", "ntrial", "trialcount", "maxevals", "ncalls"),
    ),
    **_same(_MINIMIZE, "direction", "mode", "goal", "optimizemode", "maximize", "directions"),
    **_same(_OBJECTIVE, "metric", "objectivemetricname", "metricname", "optimize", "minimize"),
    **_same("write objective: {metrics: {NAME: weight, ...}, minimize: true}", "weights"),
    **_same(_PARAMETERS, "searchspace", "searchspacefile", "params", "paramspace", "space"),
    **_same(
        _STRATEGY, "algorithm", "algorithmname", "tuner", "sampler", "searchalg", "searchalgorithm"
    ),
    **_same(f"{_STRATEGY} where Katib and wandb name one method", "method", "classargs"),
    **_same(_COMMAND, "trialcommand", "program", "trialtemplate", "trainable", "entrypoint"),
    **_same(_COMMAND, "command", "args", "script"),
    **_same("write name: without the mapping around it", "metadata", "experimentname", "study"),
    **_same("write name: and storage: at the top level", "studyname"),
    **_same("remove it; a schedd file begins with schema: schedd/v1", "apiversion", "kind"),
    **_same("write its keys at the top level", "spec", "config", "experiment"),
    **_same(_TIMEOUT, "maxexperimentduration", "timebudgets", "maxduration", "maxruntime"),
    **_same(_TIMEOUT, "timeout"),
    **_same("write trials: {ttl: 6h}", "trialtimeout", "maxtrialduration", "ttl"),
    **_same(_FAILED, "maxfailedtrialcount", "maxfailures", "raiseonfailedtrial"),
    **_same(_RETRIES, "retries", "maxretries", "maxrestarts"),
    **_same("write generation_strategy: {seed: N}", "seed", "randomseed"),
    **_same("write runner: {type: local}", "trainingservice", "backend", "executor", "platform"),
    **_same("write runner: {workdir: FOLDER}", "trialcodedirectory", "codedir", "cwd", "workdir"),
    **_same(_STOP, "target", "targetvalue", "stop"),
    **_same("write metrics: {NAME: {fetcher: {type: jsonl}}}", "metricscollectorspec"),
    **_same("write objectives: a list of {metric, minimize, threshold}", "additionalmetricnames"),
    **_same("write parameter_constraints: ['a <= b']", "constraints", "parameterconstraint"),
    **_same("write reduce: last, min, max or mean in the metric", "metricstrategies"),
    **_same("write status_quo: {parameters: {...}}", "baseline", "statusquoarm"),
    **_same("write arms: a list of {name, parameters}", "initialpoints", "pointstoevaluate"),
}
"""Keys of Katib, wandb, NNI, Ray, Optuna and others, simplified, wherever they stand."""

FOREIGN_PARAMETER_KEYS: Mapping[str, str] = {
    **_same(_RANGE, "min", "max", "low", "high", "lower", "upper", "range", "bound"),
    **_same(f"{_RANGE}, or type: choice with values", "feasiblespace", "distribution", "dist"),
    **_same(
        "write parameter_type: float, int, str or bool", "parametertype", "valuetype", "dtype"
    ),
    **_same("write scaling: log", "log", "logscale", "scale", "logscaling"),
    **_same("write step_size: X", "step", "q", "stepsize"),
    **_same(_CHOICE, "choices", "categories", "list", "options", "values", "value"),
    **_same("write is_ordered: true or false", "ordered", "isorder", "sorted"),
    **_same("write type: instead", "kind"),
    **_same("write expression: '2 * a + b'", "expressionstr", "formula"),
    **_same("write dependent_parameters: {VALUE: [NAME, ...]}", "dependents", "conditions"),
}
"""The same, in an item of ``parameters``."""

PARAMETER_TYPES: Mapping[str, str] = {
    **_same(_RANGE, "uniform", "float", "double", "real", "continuous"),
    **_same(_LOG, "loguniform", "loguniformvalues", "log", "reciprocal"),
    **_same(_STEP, "quniform", "qrandn", "step"),
    **_same(f"{_LOG}; log scaling has no step", "qloguniform", "qloguniformvalues"),
    **_same(_WHOLE, "int", "integer", "randint", "intuniform", "qrandint"),
    **_same(f"{_WHOLE} and scaling: log", "lograndint", "qlograndint"),
    **_same(_CHOICE, "categorical", "discrete", "ordinal", "gridsearch", "select"),
    **_same(f"{_CHOICE}, quoted where it is text", "bool", "boolean", "str", "string"),
    **_same("write type: fixed with value: X", "constant", "const"),
    **_same("a normal prior is not implemented; " + _RANGE, "normal", "lognormal", "qnormal"),
    **_same("write type: derived and expression: '2 * a + b'", "expression", "formula"),
}
GENERATORS: Mapping[str, str] = {
    **_same("write random, or sobol, which spreads points better", "uniform", "randomsearch"),
    **_same("write turbo", "trustregion", "turbo1"),
    **_same("write thompson", "thompsonsampling", "ts", "empiricalbayesthompson"),
    **_same("write saasbo", "saas", "fullybayesian"),
    **_same("write grid", "gridsearch", "factorial", "fullfactorial", "bruteforce"),
    **_same(
        "botorch is the one that learns",
        *("tpe", "bayes", "bayesian", "bayesianoptimization", "bayesopt", "gp", "gpei", "ax"),
        *("hyperopt", "skopt", "smac", "metis", "mbm", "boformixed"),
    ),
}
METHODS: Mapping[str, str] = {
    **_same("write random_search", "random", "sobol", "uniform"),
    **_same("write nodes: [{generator: grid}]", "grid", "gridsearch"),
    **_same("write fast", "bayes", "bayesian", "bayesianoptimization", "default", "auto", "gp"),
}
DIRECTIONS = "write minimize: true or minimize: false"

NOT_YET = frozenset(
    {
        "parameters.is_fidelity",
        "parameters.is_task",
        "parameters.target_value",
        "parameters.digits",
        "early_stopping_strategy",
        "early_stopping",
        "stopping_criteria.max_cost",
        "runner.shell",
        "schedule",
    }
)
"""Paths, without list indices, of keys whose meaning is settled and whose code is not written."""

LISTS: Mapping[str, str] = {
    "parameters": "write one '- {name: lr, type: range, bounds: [0, 1]}' per line",
    "runner.command": "write [python, train.py]; a shell line is not accepted",
}
"""What a list should look like where people write something else."""

PATTERNS: Mapping[str, str] = {
    "name": "1 to 40 characters from a-z, 0-9 and '-', with a letter or digit at both ends",
    "parameters.name": "a letter or '_', then at most 63 letters, digits, '_', '.' or '-'",
    "failures.log_policies.name": "a letter, then at most 39 letters, digits, '_' or '-'",
    "arms.name": "a letter or '_', then at most 63 letters, digits, '_', '.' or '-'",
}
"""What the pattern at a path allows, in words."""


def flat(path: tuple[str | int, ...]) -> str:
    """Return a path without list indices, with dots."""
    return ".".join(part for part in path if isinstance(part, str))


def key_hint(path: tuple[str | int, ...]) -> str:
    """Return what to say of an unknown key, or nothing."""
    word = simplified(str(path[-1]))
    if path[0] == "parameters" and word in FOREIGN_PARAMETER_KEYS:
        return FOREIGN_PARAMETER_KEYS[word]
    return FOREIGN_KEYS.get(word, "")


def value_hint(path: tuple[str | int, ...], value: object) -> str:
    """Return what to say of a word that is not among those allowed, or nothing."""
    place, word = flat(path), simplified(str(value)[:100])
    if place == "parameters.type":
        return PARAMETER_TYPES.get(word, "")
    if place == "generation_strategy.method":
        return METHODS.get(word, "")
    if place == "generation_strategy.nodes.generator":
        return GENERATORS.get(word, "")
    if place == "parameters.parameter_type":
        return {"double": "write float", "string": "write str", "integer": "write int"}.get(
            word, ""
        )
    if place == "parameters.scaling":
        return {"none": "write linear", "logarithmic": "write log"}.get(word, "")
    return ""
