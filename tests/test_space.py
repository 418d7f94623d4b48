"""Spaces and Sobol: what is made is admitted, new, spread, and the same every time."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spaces import arms, choice, define, real, sobol, whole

from scheduler.generation.polytope import Polytope, every_point
from scheduler.generation.space import Space

ranges = st.one_of(
    st.tuples(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3)).map(
        lambda t: {"type": "range", "bounds": (t[0], t[0] + t[1])}
    ),
    st.tuples(st.integers(-50, 50), st.integers(1, 100)).map(
        lambda t: {"type": "range", "parameter_type": "int", "bounds": (t[0], t[0] + t[1])}
    ),
    st.sampled_from([0.1, 0.25, 0.3]).map(
        lambda step: {"type": "range", "bounds": (0.0, 1.0), "step_size": step}
    ),
)
others = st.one_of(
    st.tuples(st.floats(1e-6, 1e3), st.floats(1.5, 1e6)).map(
        lambda t: {"type": "range", "bounds": (t[0], t[0] * t[1]), "scaling": "log"}
    ),
    st.tuples(st.integers(1, 5), st.integers(1, 10**6)).map(
        lambda t: {
            "type": "range",
            "parameter_type": "int",
            "bounds": (t[0], t[0] + t[1]),
            "scaling": "log",
        }
    ),
    st.sampled_from(["abc", "a", "abcdefgh"]).map(lambda s: {"type": "choice", "values": list(s)}),
    st.just({"type": "choice", "values": [1, 2, 4, 8]}),
    st.just({"type": "choice", "values": [True, False]}),
    st.just({"type": "fixed", "value": 3}),
)


@st.composite
def spaces(draw):
    linear = draw(st.lists(ranges, min_size=1, max_size=4))
    rest = draw(st.lists(others, max_size=3))
    parameters = [{"name": f"p{i}", **p} for i, p in enumerate([*linear, *rest])]
    constraints = []
    for _ in range(draw(st.integers(0, 2))):
        weights = {
            f"p{i}": draw(st.sampled_from([-2.0, -1.0, 0.5, 1.0])) for i in range(len(linear))
        }
        # A bound that the lower corner, at least, satisfies.
        at_corner = sum(w * linear[int(n[1:])]["bounds"][0] for n, w in weights.items())
        constraints.append({"weights": weights, "bound": at_corner + draw(st.floats(0.0, 50.0))})
    return define(parameters, constraints)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(definition=spaces())
def test_every_sobol_arm_is_admitted_and_new(definition):
    reply = sobol(definition, 12)
    made = arms(reply)
    assert len(made) == 12 or reply.exhausted
    assert [definition.admit(arm) for arm in made] == made
    assert len({tuple(arm.items()) for arm in made}) == len(made)
    space = Space(definition)
    points = space.encode(made)
    assert ((points >= 0) & (points <= 1)).all()
    for arm, again in zip(made, map(space.values, points), strict=True):
        same = {
            n: v == (pytest.approx(again[n]) if type(v) is float else again[n])
            for n, v in arm.items()
            if n in again
        }
        assert all(same.values()), (arm, again)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(definition=spaces(), cut=st.integers(1, 9))
def test_two_short_requests_give_what_one_long_one_gives(definition, cut):
    whole_reply = sobol(definition, 10)
    first = sobol(definition, cut)
    seen = tuple(arms(first))
    second = sobol(definition, 10 - cut, first.cursor, seen=seen)
    assert arms(first) + arms(second) == arms(whole_reply)


def test_arms_depend_on_the_experiments_seed_only():
    one, two = (define([real("x")], generation_strategy={"seed": s}) for s in (1, 2))
    assert arms(sobol(one, 4)) == arms(sobol(one, 4))
    assert arms(sobol(one, 4)) != arms(sobol(two, 4))


def test_batches_are_grouped_by_trial():
    reply = sobol(define([real("x")]), 3, size=2)
    assert [len(trial) for trial in reply.trials] == [2, 2, 2]


def test_every_value_of_a_stepped_range_is_equally_likely():
    definition = define([whole("n", 0, 4), real("x")])
    counts = np.bincount([arm["n"] for arm in arms(sobol(definition, 1000))])
    assert counts.min() >= 198
    assert counts.max() <= 202


def test_a_log_integer_spreads_over_its_decades():
    definition = define([whole("n", 1, 1000, scaling="log"), real("x")])
    values = [arm["n"] for arm in arms(sobol(definition, 300))]
    assert {type(v) for v in values} == {int}
    small = sum(v <= 10 for v in values) / len(values)
    assert 0.3 < small < 0.45
    assert {1, 2} <= set(values)


def test_extreme_bounds_are_survived():
    definition = define([real("x", -4e307, 4e307), whole("n", 0, 2**53)])
    made = arms(sobol(definition, 20))
    points = Space(definition).encode(made)
    assert ((points >= 0) & (points <= 1)).all()


def test_a_feasible_part_of_a_millionth_of_the_box_is_filled():
    names = [f"x{i}" for i in range(8)]
    definition = define([real(name) for name in names], [" + ".join(names) + " <= 0.68"])
    assert 0.68**8 / math.factorial(8) < 1.2e-6
    made = np.array([list(arm.values()) for arm in arms(sobol(definition, 30))])
    assert len(made) == 30
    # Uniform in the simplex: each coordinate's mean is 0.68 / 9.
    assert np.abs(made.mean(axis=0) - 0.68 / 9).max() < 0.06


def test_constraints_that_leave_no_inside_are_kept_after_rounding():
    parameters = [real("a"), real("b"), whole("n", 0, 1000)]
    definition = define(
        parameters, ["a + b <= 1", "a + b >= 1", "n - 1000 * a <= 0", "1000 * a - n <= 0"]
    )
    for arm in arms(sobol(definition, 10)):
        assert arm["n"] == pytest.approx(1000 * arm["a"])
        assert arm["a"] + arm["b"] == pytest.approx(1)


def test_constraints_that_admit_nothing_exhaust_the_space():
    definition = define([real("a"), real("b")], ["a + b <= 0.5", "a + b >= 0.6"])
    reply = sobol(definition, 2)
    assert reply.exhausted
    assert reply.trials == ()


def test_a_small_space_is_used_up_to_its_last_arm():
    definition = define(
        [whole("n", 0, 3), choice("c", ["a", "b", "c"]), choice("b", [True, False])], ["n <= 2"]
    )
    everything = [
        dict(zip("ncb", v, strict=True)) for v in itertools.product(range(3), "abc", (True, False))
    ]
    reply = sobol(definition, 40, pending=tuple(everything[:2]), seen=tuple(everything[2:5]))
    assert reply.exhausted
    key = lambda arm: tuple(arm.items())  # noqa: E731
    assert sorted(map(key, arms(reply))) == sorted(map(key, everything[5:]))


def test_the_nearest_feasible_point_is_on_the_grid():
    definition = define([whole("n", 0, 9), real("x")], ["n + 9 * x <= 3"])
    space = Space(definition)
    point = Polytope(space).nearest(np.array([0.95, 0.9]))
    assert space.arm(point) is not None
    assert point[0] in space.snap(np.array([[point[0], 0.0]]))[:, 0]


def kept(definition, made):
    """Assert that the arms are admitted, different, and beyond no constraint but by rounding."""
    assert [definition.admit(arm) for arm in made] == made
    assert len({tuple(sorted(arm.items())) for arm in made}) == len(made)
    for arm, constraint in itertools.product(made, definition.search_space.constraints):
        if excess := constraint.excess(arm):  # One side of an equation.
            size = sum(abs(w * arm[name]) for name, w in constraint.weights.items())
            assert excess <= 1e-12 * max(size, abs(constraint.bound), 1.0)


@st.composite
def narrow(draw):
    """Draw up to 50 floats and ints with constraints around one point, at a distance of 0 to 1."""
    count = draw(st.integers(2, 50))
    ints = draw(st.integers(0, min(count, 6)))
    parameters = [
        whole(f"p{i}", -3, draw(st.integers(0, 40))) if i < ints else real(f"p{i}", -1.0, 2.0)
        for i in range(count)
    ]
    inside = [draw(st.sampled_from([-1, 0, 0.25 if i >= ints else 0])) for i in range(count)]
    constraints = []
    for _ in range(draw(st.integers(1, 4))):
        used = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=count, unique=True))
        weights = {f"p{i}": draw(st.sampled_from([-2.0, -1.0, 0.5, 1.0])) for i in used}
        bound = sum(w * inside[int(n[1:])] for n, w in weights.items())
        room = draw(st.sampled_from([0.0, 1e-9, 1e-6, 1e-3, 1.0]))
        constraints.append({"weights": weights, "bound": bound + room})
        if draw(st.booleans()):
            back = {name: -weight for name, weight in weights.items()}
            constraints.append({"weights": back, "bound": -bound})
    return define(parameters, constraints)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(definition=narrow())
def test_constraints_are_kept_to_the_last_digit_in_needles_and_edges(definition):
    reply = sobol(definition, 6)
    made = arms(reply)
    assert made
    kept(definition, made)
    assert len(made) == 6 or reply.exhausted


@st.composite
def trees(draw):
    """Draw parameters of which some depend on others, three levels deep, with constraints."""
    names = iter("abcdefghijkl")

    def grow(depth):
        parameters, tops = [], []
        for _ in range(draw(st.integers(1, 2))):
            name = next(names, None)
            kind = draw(st.sampled_from(["choice", "bool", "fixed", "int", "float"]))
            if name is None or depth == 3 or kind in ("int", "float"):
                name = name or f"z{len(parameters)}{depth}{draw(st.integers(0, 10**9))}"
                made = whole(name, 0, 3) if kind == "int" else real(name, step_size=0.25)
                parameters.append(made)
                tops.append(name)
                continue
            values = {"choice": ["u", "v", "w"], "bool": [True, False], "fixed": [7]}[kind]
            below, children = grow(depth + 1)
            when = draw(st.lists(st.sampled_from(values), min_size=1, unique=True))
            own = {"dependent_parameters": dict.fromkeys(when, children)}
            made = (
                {"name": name, "type": "fixed", "value": 7, **own}
                if kind == "fixed"
                else choice(name, values, **own)
            )
            parameters += [made, *below]
            tops.append(name)
        return parameters, tops

    parameters, _ = grow(0)
    ranges_of = [p["name"] for p in parameters if p["type"] == "range"]
    constraints = []
    if len(ranges_of) > 1 and draw(st.booleans()):
        constraints.append(f"{ranges_of[0]} + {ranges_of[1]} <= 1")
    return define(draw(st.permutations(parameters)), constraints)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(definition=trees())
def test_a_tree_is_used_up_and_every_arm_made_once(definition):
    assume(definition.cardinality <= 5000)
    space = Space(definition)
    points = every_point(space, 10**5)
    every = [space.arm(point) for point in points]
    assert None not in every
    kept(definition, every)
    if not len(definition.parameter_constraints):
        assert len(every) == definition.cardinality == space.size
    if len(every) > 300:
        return
    reply = sobol(definition, len(every) + 1)
    made = arms(reply)
    assert reply.exhausted
    kept(definition, made)
    assert {space.key(arm) for arm in made} == {space.key(arm) for arm in every}
    again = space.encode(made)
    assert [space.arm(point) for point in again] == made
    assert (space.snap(again) == again).all()
    assert ((again == 0.5) | space.active(again)).all()


def test_a_few_arms_in_a_vast_grid_are_all_found():
    names = "abcde"
    definition = define([whole(n, 0, 400) for n in names], [" + ".join(names) + " <= 2"])
    reply = sobol(definition, 30)
    assert reply.exhausted
    assert len(arms(reply)) == 1 + 5 + 15
    kept(definition, arms(reply))


def simplex(count, total, *more):
    names = [f"x{i}" for i in range(count)]
    return define([real(name) for name in names], [" + ".join(names) + f" <= {total}", *more])


@pytest.mark.parametrize(
    ("least", "parts"), [(None, 11), (0.4999999, 10), (0.5, 10)], ids=["body", "skin", "face"]
)
def test_a_simplex_is_covered_evenly_however_thin(least, parts):
    names = " + ".join(f"x{i}" for i in range(10))
    definition = simplex(10, 0.5, *([f"{names} >= {least}"] if least else []))
    points = Polytope(Space(definition)).draws(np.random.default_rng(0), 2000)
    assert points.shape == (2000, 10)
    # A coordinate of the uniform distribution there is half of a Beta(1, parts - 1).
    for share in (0.1, 0.5, 0.9):
        quantile = 0.5 * (1 - (1 - share) ** (1 / (parts - 1)))
        assert np.abs((points <= quantile).mean(axis=0) - share).max() < 5 * (0.25 / 2000) ** 0.5


def test_a_needle_is_covered_from_end_to_end():
    definition = define(
        [real(n) for n in "abcd"], ["a - b <= 1e-7", "b - a <= 1e-7", "b + c <= 1", "b + c >= 1"]
    )
    made = np.array([[arm[n] for n in "abcd"] for arm in arms(sobol(definition, 16))])
    for column in made[:, [0, 3]].T:
        assert len(np.unique(np.floor(column * 4))) == 4
    assert np.abs(made[:, 0] - made[:, 1]).max() <= 1.001e-7
    assert np.abs(made[:, 1] + made[:, 2] - 1).max() < 1e-14


def test_the_first_arms_of_a_needle_are_farther_apart_than_chance_has_it():
    definition = simplex(6, 0.1)
    made = Space(definition).encode(arms(sobol(definition, 8)))
    rng = np.random.default_rng(1)
    polytope = Polytope(Space(definition))
    gaps = lambda p: min(np.linalg.norm(a - b) for a, b in itertools.combinations(p, 2))  # noqa: E731
    assert gaps(made) > np.median([gaps(polytope.draws(rng, 8)) for _ in range(50)])


def test_a_dependent_parameter_lies_in_the_middle_where_it_is_not_active():
    parameters = [
        whole("n", 0, 3),
        choice("c", ["a", "b"], dependent_parameters={"a": ["n", "x"]}),
        real("x"),
    ]
    space = Space(define(parameters))
    assert space.encode([{"c": "b"}]).tolist() == [[0.5, 0.75, 0.5]]
    moved = space.snap(np.array([[0.1, 0.9, 0.2], [0.1, 0.2, 0.2]]))
    assert moved.tolist() == [[0.5, 0.75, 0.5], [0.125, 0.25, 0.2]]
    assert space.values(moved[0]) == {"c": "b"}
    assert space.size == math.inf


def test_a_constraint_binds_only_where_it_applies():
    parameters = [
        choice("c", ["a", "b"], dependent_parameters={"a": ["x", "y"], "b": ["z"]}),
        *(real(n) for n in "xyzw"),
    ]
    definition = define(parameters, ["x + y <= 0.01", "x + y >= 0.01", "z + w >= 1.99"])
    made = arms(sobol(definition, 20))
    kept(definition, made)
    assert {arm["c"] for arm in made} == {"a", "b"}
    assert np.ptp([arm["w"] for arm in made if arm["c"] == "a"]) > 0.5
    assert all(arm["z"] + arm["w"] >= 1.99 for arm in made if arm["c"] == "b")
