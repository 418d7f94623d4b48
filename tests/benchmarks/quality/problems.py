"""The problems that are reported; defaults are chosen on those of ``development``, not these."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from . import functions as f
from .problem import Metrics, Parameters, Problem

FIFTHS = {"alder": 0.7, "birch": 0.9, "cedar": 0.1, "delta": 0.3, "echo": 0.5}
QUARTERS = {"blue": 0.35, "green": 0.95, "grey": 0.05, "red": 0.65}
HARTMANN6 = (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)


def floats(dimension: int, lower: float = 0.0, upper: float = 1.0) -> tuple[dict[str, Any], ...]:
    """Return ``dimension`` range parameters, x1, x2 and so on."""
    return tuple(a_float(f"x{i}", lower, upper) for i in range(1, dimension + 1))


def a_float(name: str, lower: float, upper: float) -> dict[str, Any]:
    return {"name": name, "type": "range", "bounds": [lower, upper]}


def an_int(name: str, lower: int, upper: int) -> dict[str, Any]:
    return {"name": name, "type": "range", "parameter_type": "int", "bounds": [lower, upper]}


def a_choice(name: str, values: list[str]) -> dict[str, Any]:
    return {"name": name, "type": "choice", "values": values, "is_ordered": False}


def named(values: tuple[float, ...]) -> dict[str, float]:
    """Return the arm at ``values`` of parameters x1, x2 and so on."""
    return {f"x{i}": value for i, value in enumerate(values, 1)}


def of(function: Callable[[f.Vector], float]) -> Callable[[Parameters], Metrics]:
    """Return the one-metric function of an arm of floats."""

    def metrics(parameters: Parameters) -> Metrics:
        return {"y": function(list(parameters.values()))}

    return metrics


def _mixed(p: Parameters) -> Metrics:
    x = [p["x1"], p["x2"], p["x3"], p["x4"] / 10, FIFTHS[p["x5"]], QUARTERS[p["x6"]]]
    return {"y": f.hartmann6(x)}


def _constrained(p: Parameters) -> Metrics:
    return dict(zip(("y", "c1", "c2"), f.gramacy([p["x1"], p["x2"]]), strict=True))


def _branin_currin(p: Parameters) -> Metrics:
    a, b = p["x1"], p["x2"]
    return {"f1": f.branin([15 * a - 5, 15 * b]), "f2": f.currin([a, b])}


def _dtlz2(p: Parameters) -> Metrics:
    return dict(zip(("f1", "f2"), f.dtlz2(list(p.values())), strict=True))


def _failing(p: Parameters) -> Metrics | None:
    """43 % of the cube fail; the best point is 0.05 away from there."""
    return None if p["x3"] ** 2 + p["x6"] ** 2 > 0.72 else of(f.hartmann6)(p)


PROBLEMS = (
    Problem(
        "branin",
        (a_float("x1", -5.0, 10.0), a_float("x2", 0.0, 15.0)),
        of(f.branin),
        budget=30,
        best=0.39788735772973816,
        basin=0.05,
        known=named((math.pi, 2.275)),
    ),
    Problem(
        "hartmann6",
        floats(6),
        of(f.hartmann6),
        budget=40,
        best=-3.322368011415515,
        basin=0.1,
        known=named(HARTMANN6),
    ),
    Problem(
        "hartmann6_noisy",
        floats(6),
        of(f.hartmann6),
        budget=40,
        best=-3.322368011415515,
        basin=0.1,
        noise=0.1,
        known=named(HARTMANN6),
    ),
    Problem(
        "mixed",
        (
            *floats(3),
            an_int("x4", 0, 10),
            a_choice("x5", list(FIFTHS)),
            a_choice("x6", list(QUARTERS)),
        ),
        _mixed,
        budget=40,
        best=-3.2965104320251526,
        basin=0.1,
        known={
            "x1": 0.203367,
            "x2": 0.149687,
            "x3": 0.472973,
            "x4": 3,
            "x5": "delta",
            "x6": "red",
        },
    ),
    Problem(
        "constrained",
        floats(2),
        _constrained,
        budget=40,
        best=0.5997880520069526,
        basin=0.05,
        constraints=("c1", "c2"),
        parameter_constraints=("x1 - x2 <= 0.3",),
        known=named((0.19512269, 0.40466537)),
    ),
    Problem(
        "multiobj",
        floats(2),
        _branin_currin,
        budget=40,
        best=59.36011874867746,
        basin=3.0,
        objectives=("f1", "f2"),
        reference=(18.0, 6.0),
    ),
    # The distance to the front is zero off the centre, where some begin.
    Problem(
        "dtlz2",
        (a_float("x1", 0.0, 1.0), *(a_float(f"x{i}", 0.0, 0.8) for i in (2, 3, 4))),
        _dtlz2,
        budget=40,
        best=1.1**2 - math.pi / 4,
        basin=0.04,
        objectives=("f1", "f2"),
        reference=(1.1, 1.1),
    ),
    Problem(
        "ackley20",
        floats(20, -5.0, 10.0),
        of(f.ackley),
        budget=100,
        best=0.0,
        basin=3.0,
        known=named((0.0,) * 20),
    ),
    Problem(
        "failing",
        floats(6),
        _failing,
        budget=40,
        best=-3.322368011415515,
        basin=0.1,
        known=named(HARTMANN6),
    ),
)


def by_name() -> Mapping[str, Problem]:
    """Return all problems, those of ``development`` too, by name."""
    from .development import DEVELOPMENT

    return {problem.name: problem for problem in (*PROBLEMS, *DEVELOPMENT)}
