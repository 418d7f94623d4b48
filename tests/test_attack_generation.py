"""The model under attack: whatever was measured, an arm that is new and admitted, or a sentence.

SCHEDD_ATTACKS=1000 tries more.
"""

import math
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from spaces import arms, choice, define, real, sobol, whole

from scheduler.generation import wire
from scheduler.generation.protocol import GenerationRequest, Measured
from scheduler.generation.space import GenerationError, Space

pytestmark = [
    # gpytorch's import, at this version of torch.
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated"),
]
ATTACKS = int(os.environ.get("SCHEDD_ATTACKS", "16"))

FLOATS = [real("x"), real("y", -5, 10)]
TREE = [
    choice("kind", ["flat", "deep"], dependent_parameters={"deep": ["x", "n"]}),
    real("x"),
    whole("n", 0, 9),
    real("y"),
]
SPACES = {
    "one": ([real("x")], []),
    "floats": (FLOATS, []),
    "log": ([real("x", 1e-9, 1e9, scaling="log"), whole("n", 1, 1000, scaling="log")], []),
    "choices": (
        [choice("a", list("abc")), choice("b", [1, 2, 5]), choice("c", [True, False])],
        [],
    ),
    "mixed": ([*FLOATS, whole("n", 0, 10), choice("kind", ["a", "b", "c"])], ["x + n <= 8"]),
    "tree": (TREE, ["x + y <= 1"]),
    "tiny": ([real("x"), real("y"), real("z")], ["x + y + z <= 1e-4"]),
    "equality": ([whole("n", 0, 20), real("x", 0, 20)], ["n + x <= 7", "n + x >= 7"]),
    "wide": ([real(f"x{i}") for i in range(20)], []),
}
OUTCOMES = {
    "one": {"objective": "-a"},
    "sum": {"objective": "-a + 0.5 * b"},
    "limits": {"objective": "a", "outcome_constraints": ["b <= 0.1", "c >= 1e30"]},
    "relative": {
        "objective": "-a",
        "outcome_constraints": ["b <= +10%", "c <= 0.5 * baseline"],
    },
    "two": {"objectives": ["-a", "b"]},
    "shared": {"objectives": ["-a", "-a + b"], "outcome_constraints": ["c <= 0.3"]},
    "three": {
        "objectives": [
            {"metric": m, "minimize": True, "threshold": t}
            for m, t in (("a", 0.5), ("b", -1e9), ("c", 1e300))
        ]
    },
}
SIZES = (0.0, 5e-324, 1e-200, 1e-12, 1.0, 1.0, 1.0, 1e12, 1e200, 1.7e308)
OFFSETS = (0.0, 0.0, 0.0, 1.0, 1e9, -1e15, 1e300)
SEMS = (None, None, 0.0, 1e-300, 1e-6, 0.1, 1e6, 1.7e308)
OUTLIERS = (1e30, -1e30, 1.7e308, -1.7e308, 0.0, math.nan, math.inf)


def numbers(chance, arm):
    """Return a smooth function of the arm, of some roughness."""
    text = sum(ord(v[0]) % 7 for v in arm.values() if isinstance(v, str))
    size = sum(math.atan(v) for v in arm.values() if not isinstance(v, str))
    return math.sin(3 * size + text + chance)


def attack(seed):
    """Return a request that means no good."""
    chance = random.Random(seed)
    parameters, constraints = SPACES[chance.choice(list(SPACES))]
    outcome = chance.choice(list(OUTCOMES))
    more = dict(OUTCOMES[outcome])
    plain = define(parameters, constraints)
    made = arms(sobol(plain, 80))
    if outcome == "relative":
        more["status_quo"] = {"parameters": made[0]}
    definition = define(parameters, constraints, **more)
    count = min(chance.choice([0, 1, 2, 3, 5, 9, 9, 15, 30]), len(made))
    used = chance.choices(made, k=count) if chance.random() < 0.3 else made[:count]
    columns = {m: metric(chance, used) for m in "abc" if m in definition.required_metrics}
    observed = tuple(
        Measured(arm, {m: values[i] for m, values in columns.items()})
        for i, arm in enumerate(used)
        if chance.random() < 0.95
    )
    rest = made[count:]
    pending = tuple(rest[: chance.choice([0, 0, 1, 10])])
    failed = tuple(chance.choices([*rest, *used], k=chance.choice([0, 0, 1, 20])))
    baseline = chance.choice([None, {"b": 0.3, "c": -1e-300}, {"b": 1.7e308, "c": 0.0}])
    seen = (*used, *pending, *failed)
    batch = chance.choice([1, 1, 1, 3])
    return GenerationRequest(
        definition,
        "botorch",
        chance.getrandbits(62),
        1,
        batch,
        observed=observed,
        pending=pending,
        failed=failed,
        seen=seen,
        baseline=baseline if outcome == "relative" else None,
    )


def metric(chance, used):
    """Return (mean, sem) for each arm, of one metric."""
    size, offset = chance.choice(SIZES), chance.choice(OFFSETS)
    sem, shape = chance.choice(SEMS), chance.random()
    values = [offset + size * numbers(shape, arm) for arm in used]
    for _ in range(chance.choice([0, 0, 0, 1, 3])):
        if values:
            values[chance.randrange(len(values))] = chance.choice(OUTLIERS)
    mixed = chance.random() < 0.2
    return [(v, chance.choice(SEMS) if mixed else sem) for v in values]


def answer(generator, request):
    """Return the arms, or the sentence; both as they would reach the daemon."""
    try:
        reply = generator.generate(request)
    except GenerationError as error:
        return str(error)
    parsed = wire.parse_answer(wire.reply_line(reply, 1), request, 1)
    assert isinstance(parsed, type(reply)), parsed
    return parsed.trials


def fresh(request):
    from scheduler.generation.botorch.generator import BotorchGenerator

    return BotorchGenerator(Space(request.definition))


@pytest.mark.parametrize("seed", range(ATTACKS))
def test_an_arm_that_is_new_and_admitted_or_a_sentence(seed):
    request = attack(seed)
    found = answer(fresh(request), request)
    if isinstance(found, str):
        assert len(found) > 10
        return
    proposed = [p.parameters for trial in found for p in trial]
    assert len(proposed) == request.count
    space = Space(request.definition)
    used = space.keys(request.seen, request.pending, (o.parameters for o in request.observed))
    for arm in proposed:
        assert request.definition.admit(arm) == arm
        assert space.key(arm) not in used
        used.add(space.key(arm))


PROGRAM = """
import sys, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
import test_attack_generation as t
for seed in map(int, sys.argv[2:]):
    request = t.attack(seed)
    print(t.answer(t.fresh(request), request))
"""


def test_arms_are_the_same_on_one_thread_and_on_two():
    folder, seeds = str(Path(__file__).parent), ["6", "14"]
    children = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, folder, *seeds],
            env={
                **os.environ,
                "OMP_NUM_THREADS": str(threads),
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for threads in (1, 2)
    ]
    one, two = (child.communicate()[0] for child in children)
    assert one == two
    assert "Proposal" in one


@pytest.mark.parametrize("seed", [6, 14])
def test_arms_do_not_depend_on_what_was_asked_before(seed):
    request = attack(seed)
    used = fresh(request)
    answer(used, replace(request, observed=request.observed[:-1]))
    answer(used, replace(request, seed=request.seed + 1, pending=()))
    assert answer(used, request) == answer(fresh(request), request)


def test_it_heads_for_what_is_feasible_where_nothing_is_yet():
    definition = define(
        [real("x"), real("y"), real("z")], objective="-loss", outcome_constraints=["far <= 0.03"]
    )

    def measured(arm):
        far = (arm["x"] - 0.83) ** 2 + (arm["y"] - 0.18) ** 2 + (arm["z"] - 0.71) ** 2
        return Measured(arm, {"loss": (arm["x"], None), "far": (far, None)})

    observed = [measured(arm) for arm in arms(sobol(definition, 8))]
    assert all(o.metrics["far"][0] > 0.03 for o in observed)
    for index in range(8):
        request = GenerationRequest(definition, "botorch", index, 1, 1, observed=tuple(observed))
        observed += [measured(p.parameters) for (p,) in fresh(request).generate(request).trials]
    assert any(o.metrics["far"][0] <= 0.03 for o in observed[8:])


def test_a_front_of_many_objectives_has_no_more_boxes_than_there_is_room_for():
    import torch

    from scheduler.generation.botorch.hypervolume import BOXES, _boxes

    draws = torch.rand(2, 4, 60, 4, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    draws = draws / draws.norm(dim=-1, keepdim=True)
    corner = torch.zeros(4, dtype=torch.double)
    lower, upper = _boxes(corner, draws)
    assert lower.shape == upper.shape
    assert (len(lower), lower.shape[1], lower.shape[-1]) == (2, 1, 4)
    assert lower.shape[0] * lower.shape[2] * lower.shape[3] <= BOXES
    assert (lower <= upper).all()
    few, _ = _boxes(corner, draws[:, :, :5])
    assert few.shape[2] == 4


def test_arms_of_different_branches_are_compared():
    definition = define(TREE)
    flat, deep = {"kind": "flat", "y": 0.5}, {"kind": "deep", "x": 0.1, "n": 3, "y": 0.5}
    request = GenerationRequest(definition, "sobol", 0, 1, 1, seen=(flat,), pending=(deep,))
    line = wire.reply_line(request.reply([{**deep, "n": 4}]), 1)
    assert not isinstance(wire.parse_answer(line, request, 1), str)
    with pytest.raises(wire.Nonsense, match="already"):
        wire.parse_answer(wire.reply_line(request.reply([flat]), 1), request, 1)
