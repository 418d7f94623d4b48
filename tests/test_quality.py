"""The benchmark of generation measures what it says: problems, regret, files, arithmetic."""

import json
import math
import subprocess

import numpy as np
import pytest
from benchmarks.quality import report, results, slots
from benchmarks.quality.design import SIZE, design, points
from benchmarks.quality.development import DEVELOPMENT
from benchmarks.quality.latency import told
from benchmarks.quality.ours import Schedd, definition_of
from benchmarks.quality.problem import Problem, Regret, holds, hypervolume
from benchmarks.quality.problems import PROBLEMS, by_name, floats
from benchmarks.quality.simulate import play

from scheduler.model.strategy import nodes_of, turn

ALL = [*PROBLEMS, *DEVELOPMENT]
SINGLE = [p for p in ALL if p.known is not None]
DRAWS = 2000


def named(problem):
    return problem.name


def random_arms(problem, rng):
    """Yield uniform arms that the parameter constraints admit."""
    while True:
        arm = {p["name"]: drawn(p, rng) for p in problem.parameters}
        if all(holds(text, arm) for text in problem.parameter_constraints):
            yield arm


def drawn(parameter, rng):
    if parameter["type"] == "choice":
        return parameter["values"][rng.integers(len(parameter["values"]))]
    lower, upper = parameter["bounds"]
    if parameter.get("parameter_type") == "int":
        return int(rng.integers(lower, upper + 1))
    return float(rng.uniform(lower, upper))


def test_each_single_objective_says_where_its_best_value_is():
    assert {p.name for p in ALL if p.known is None} == {"multiobj", "dtlz2", "zdt1"}


@pytest.mark.parametrize("problem", SINGLE, ids=named)
def test_best_value_is_where_it_is_said_to_be(problem):
    assert definition_of(problem, 0).admit(problem.known) == problem.known
    metrics = problem.function(problem.known)
    assert problem.feasible(metrics)
    assert metrics["y"] == pytest.approx(problem.best, abs=1e-6)


@pytest.mark.parametrize("problem", ALL, ids=named)
def test_no_random_arm_is_better_than_the_best(problem):
    rng = np.random.default_rng(0)
    regret = Regret(problem)
    for _, arm in zip(range(DRAWS), random_arms(problem, rng), strict=False):
        regret.add(arm, problem.function(arm))
    assert 0 < regret.value < math.inf
    assert regret.value >= 1e-9


@pytest.mark.parametrize("problem", SINGLE, ids=named)
def test_no_arm_close_to_the_best_is_better(problem):
    rng = np.random.default_rng(1)
    for scale in np.repeat([1e-1, 1e-2, 1e-3], 100):
        arm = dict(problem.known)
        for p in problem.parameters:
            if p["type"] == "range" and p.get("parameter_type") != "int":
                lower, upper = p["bounds"]
                moved = arm[p["name"]] + scale * (upper - lower) * rng.standard_normal()
                arm[p["name"]] = float(np.clip(moved, lower, upper))
        metrics = problem.function(arm)
        if metrics is None or not all(holds(t, arm) for t in problem.parameter_constraints):
            continue
        if problem.feasible(metrics):
            assert metrics["y"] >= problem.best - 1e-9


def test_the_mixed_problem_has_its_best_levels_by_enumeration():
    problem = by_name()["mixed"]
    x5, x6 = (problem.parameters[i]["values"] for i in (4, 5))
    at = {k: problem.known[k] for k in ("x1", "x2", "x3")}
    grid = [(a, b, c) for a in range(11) for b in x5 for c in x6]
    values = {g: problem.function({**at, "x4": g[0], "x5": g[1], "x6": g[2]})["y"] for g in grid}
    assert len(grid) == 220
    assert min(values, key=values.get) == (3, "delta", "red")


def test_a_large_part_of_the_failing_problem_fails_and_its_best_point_does_not():
    problem = by_name()["failing"]
    rng = np.random.default_rng(0)
    points = zip(range(DRAWS), random_arms(problem, rng), strict=False)
    failed = sum(problem.function(arm) is None for _, arm in points)
    assert 0.38 < failed / DRAWS < 0.48


def toy(**changes):
    def function(p):
        return None if p["x1"] > 0.9 else {"y": p["x1"], "c": 0.2 - p["x1"]}

    return Problem("toy", floats(1), function, 7, 0.2, 0.1, constraints=("c",), **changes)


def test_regret_counts_the_best_feasible_trial_and_no_failed_one():
    regret = Regret(toy())
    seen = []
    for x in (0.1, 0.95, 0.7, 0.8, 0.25):
        regret.add({"x1": x}, toy().function({"x1": x}))
        seen.append(regret.value)
    assert seen == pytest.approx([math.inf, math.inf, 0.5, 0.5, 0.05])


def test_regret_of_what_looked_best_is_told_apart_from_the_best():
    regret = Regret(toy(noise=1.0))
    regret.add({"x1": 0.3}, {"y": 5.0, "c": 0.0})
    regret.add({"x1": 0.6}, {"y": -5.0, "c": 0.0})
    assert (regret.value, regret.chosen) == pytest.approx((0.1, 0.4))


def test_noise_depends_on_seed_and_trial_alone():
    problem = by_name()["hartmann6_noisy"]
    first = problem.measure(problem.known, 3, 5)
    assert first == problem.measure(problem.known, 3, 5)
    others = [problem.measure(problem.known, 3, trial)["y"] for trial in range(400)]
    assert np.std(others) == pytest.approx(0.1, rel=0.15)
    assert np.mean(others) == pytest.approx(problem.best, abs=0.02)


def test_hypervolume_of_a_staircase():
    assert hypervolume([], (3.0, 3.0)) == 0
    assert hypervolume([(1.0, 2.0), (2.0, 1.0), (2.5, 2.5)], (3.0, 3.0)) == 3.0
    assert hypervolume([(4.0, 0.0), (0.0, 3.0)], (3.0, 3.0)) == 0


def test_the_whole_front_has_the_best_hypervolume():
    problem = by_name()["dtlz2"]
    regret = Regret(problem)
    steps = np.linspace(0, 1, 1000)
    front = [problem.function({"x1": a, "x2": 0.5, "x3": 0.5, "x4": 0.5}) for a in steps]
    points = [(m["f1"], m["f2"]) for m in front]
    assert hypervolume(points, problem.reference) == pytest.approx(problem.best, abs=2e-3)
    assert regret.value == problem.best


class Recorder:
    """Gives arms in order and notes which trials were running at each question."""

    def __init__(self):
        self.asked, self.running, self.pending = 0, set(), []

    def ask(self):
        self.pending.append(len(self.running))
        self.running.add(self.asked)
        self.asked += 1
        return self.asked - 1, {"x1": 0.5 / self.asked + 0.2}

    def tell(self, trial, metrics):
        self.running.remove(trial)


@pytest.mark.parametrize(("mode", "pending"), [("seq", [0] * 7), ("par4", [0, 1, 2, 3, 3, 3, 3])])
def test_a_free_worker_asks_at_once(mode, pending):
    system = Recorder()
    run = play(toy(), mode, 0, system)
    assert system.pending == pending
    assert not system.running
    assert len(run.regrets) == 7
    assert run.record()["trials"] == [5, 7]


def test_a_space_that_is_used_up_ends_a_run():
    class Two(Recorder):
        def ask(self):
            return super().ask() if self.asked < 2 else None

    assert play(toy(), "par4", 0, Two()).record()["trials"] == [2]


@pytest.mark.parametrize("problem", PROBLEMS, ids=named)
def test_schedd_begins_with_the_design_that_peers_are_given(problem):
    definition = definition_of(problem, seed=3)
    assert nodes_of(definition)[0].trials >= SIZE
    system = Schedd(definition)
    for arm in design(problem, seed=3):
        index, own = system.ask()
        assert own == pytest.approx(arm)
        system.tell(index, problem.function(own))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.filterwarnings("ignore:A not p.d., added jitter")
def test_schedd_runs_to_the_end_with_failures_and_a_model():
    problem = toy()
    system = Schedd(definition_of(problem, seed=0))
    run = play(problem, "par4", 0, system)
    assert len(run.arms) == problem.budget
    assert system.state.tally.generator_runs == problem.budget
    assert not system.state.active


def test_a_file_of_results_is_taken_up_again(tmp_path):
    path = tmp_path / "new" / "schedd.jsonl"
    keys = [("schedd", "branin", mode, seed) for mode in ("seq", "par4") for seed in (0, 1)]
    for system, problem, mode, seed in keys[:2]:
        record = {"system": system, "problem": problem, "mode": mode, "seed": seed}
        results.append(path, {**record, "version": "old", "regret": [1.0]})
    with path.open("a") as file:
        file.write('{"system":"schedd","pro')  # killed here
    results.append(path, {**record, "version": "new", "regret": [2.0]})
    assert results.missing(path, [(key, "new") for key in keys]) == [keys[0], *keys[2:]]
    assert results.missing(path, [(key, "new") for key in keys], any_version=True) == keys[2:]
    assert [r["regret"] for r in results.read(path).values()] == [[1.0], [2.0]]
    results.tidy(path, results.read(path).values())
    assert len(path.read_text().splitlines()) == 2


def test_seeds_are_read_from_text():
    assert results.numbers("0-3,7") == [0, 1, 2, 3, 7]


def test_quartiles_with_runs_that_found_nothing():
    assert report.quantile([4.0, 1.0, 2.0, 3.0], 0.5) == 2.5
    assert report.quantile([1.0, 2.0, math.inf, math.inf], 0.5) == math.inf
    assert report.quantile([1.0, 2.0, math.inf], 0.25) == 1.5


def test_ratios_know_the_resolution_and_infinity():
    assert report.ratio(1.0, 4.0) == 0.25
    assert report.ratio(0.0, 0.0) == 1.0
    assert report.ratio(1.0, math.inf) == 0.0
    assert report.ratio(math.inf, math.inf) == 1.0
    assert report.ratio(math.inf, 1.0) == math.inf


def runs(system, *finals):
    for seed, value in enumerate(finals):
        record = {"system": system, "problem": "branin", "mode": "seq", "seed": seed}
        yield {**record, "version": "1", "trials": [30], "regret": [value], "cpu_ask": 0.1}


def test_targets_compare_with_the_better_peer_and_with_sobol(capsys):
    peers = [*runs("ax", 2.0, 2.0), *runs("optuna_gp", 1.0, 1.0), *runs("sobol", 0.3, 9.0)]
    table = report.Table([*runs("schedd", 0.4, 0.4), *peers])
    assert report.targets(table, "schedd", [("branin", "seq")]) == [True, True, False]
    printed = capsys.readouterr().out
    assert "0.4 against 1 of optuna_gp, 2 seeds in sight: 0.40 times" in printed
    assert "at most 1.33 times Sobol's, with 1 seeds" in printed


def test_a_report_shows_each_system_with_quartiles_and_the_share_in_the_basin(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(report, "version", lambda *_, **__: "of today")
    path = tmp_path / "some.jsonl"
    for record in runs("mine", 0.01, 0.02, None):
        results.append(path, record)
    arguments = ["--ours", "mine", "--path", str(path), "--problems", "branin", "--modes", "seq"]
    assert report.main(arguments) in (0, 1)
    (row,) = (r.split() for r in capsys.readouterr().out.splitlines() if "mine" in r and "%" in r)
    assert row[:8] == ["mine", "3", "0.02", "0.015", "inf", "67%", "0.02", "0.100"]
    assert row[8:] == ["(3", "of", "older", "code)"]


def test_latency_is_measured_behind_the_start_with_as_many_observations_as_said():
    problem = by_name()["hartmann6"]
    system = told("schedd", problem, 10)
    for arm in points(problem, 0, 10):
        system.tell(system.attach(arm), problem.function(arm))
    assert len(system.state.outcomes) == 10
    assert turn(system.state).generator == "botorch"


def test_slots_that_wait_are_not_busy():
    even = [(float(5 * k), 5.0 * k + 5) for k in range(4) for _ in range(2)]
    assert slots.busy(even, 2) == 1.0
    assert slots.longest_gap(even, 2) == 0.0
    waiting = [(0.0, 5.0), (0.0, 5.0), (6.0, 11.0), (7.0, 12.0), (12.0, 17.0)]
    assert slots.busy(waiting, 2) == pytest.approx((5 + 5 + 5 + 5) / 24)
    assert slots.longest_gap(waiting, 2) == 2.0


def test_the_job_of_the_slots_says_when_it_ran_and_what_came_out(tmp_path):
    log, result = tmp_path / "log", tmp_path / "result.json"
    command = ["sh", "-c", slots.JOB, "job", "0", log, result, "0.3", "0.6"]
    subprocess.run(command, check=True)
    ((start, end),) = slots.spans(log)
    assert start <= end
    assert json.loads(result.read_text()) == {"y": 0.06}


def test_a_report_without_runs_of_ours_meets_nothing(tmp_path):
    assert report.main(["--ours", "nobody", "--problems", "branin"]) == 1
