"""Problems to choose defaults on, so that the reported ones stay a test."""

import math

from . import functions as f
from .problem import Metrics, Parameters, Problem
from .problems import a_choice, a_float, an_int, floats, named, of

SHEKEL = (4.000747, 3.99951, 4.00075, 3.99951)
TOWNSEND = -2.023988362346782


def _ackley_mixed(p: Parameters) -> Metrics:
    """Three switches and two floats: the switches stand for 0 and 1."""
    return {"y": f.ackley([float(p["b1"]), float(p["b2"]), float(p["b3"]), p["x1"], p["x2"]])}


def _func3c(p: Parameters) -> Metrics:
    """Two floats whose function three choices make up, as in CoCaBO (Ru et al. 2020)."""
    x = [p["x1"], p["x2"]]
    shapes = {"rosenbrock": 0.05 * f.rosenbrock(x), "camel": f.six_hump_camel(x)}
    shapes["beale"] = 0.02 * _beale(x)
    weights = {"none": 0.0, "some": 1.0, "much": 2.0}
    extra = {"camel": shapes["camel"], "rosenbrock": shapes["rosenbrock"], "flat": 0.5}
    return {"y": shapes[p["h1"]] + weights[p["h3"]] * extra[p["h2"]]}


def _beale(x: f.Vector) -> float:
    a, b = x
    return (1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2


def _townsend(p: Parameters) -> Metrics:
    """Townsend's function inside his heart-shaped curve."""
    a, b = p["x1"], p["x2"]
    y = -(math.cos((a - 0.1) * b) ** 2) - a * math.sin(3 * a + b)
    t = math.atan2(a, b)
    waves = 2 * math.cos(t) - math.cos(2 * t) / 2 - math.cos(3 * t) / 4 - math.cos(4 * t) / 8
    return {"y": y, "c1": a * a + b * b - waves**2 - (2 * math.sin(t)) ** 2}


def _vessel(p: Parameters) -> Metrics:
    """A pressure vessel (Coello 2002): two thicknesses in sixteenths of an inch, two lengths."""
    ts, th, r, length = p["shell"] / 16, p["head"] / 16, p["radius"], p["length"]
    cost = 0.6224 * ts * r * length + 1.7781 * th * r**2
    cost += 3.1661 * ts**2 * length + 19.84 * ts**2 * r
    volume = math.pi * r**2 * length + 4 / 3 * math.pi * r**3
    return {
        "y": cost / 1000,
        "c1": 0.0193 * r - ts,
        "c2": 0.00954 * r - th,
        "c3": 1 - volume / 1_296_000,
    }


def _zdt1(p: Parameters) -> Metrics:
    x = list(p.values())
    g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
    return {"f1": x[0], "f2": g * (1 - math.sqrt(x[0] / g))}


def _levy_failing(p: Parameters) -> Metrics | None:
    """A fifth of the cube fails, beyond a slanted wall near the best point."""
    return None if p["x1"] + p["x2"] > 4.0 else of(f.levy)(p)


DEVELOPMENT = (
    Problem("levy4", floats(4, -10.0, 10.0), of(f.levy), 40, 0.0, 0.5, known=named((1.0,) * 4)),
    Problem(
        "rosenbrock4",
        floats(4, -5.0, 10.0),
        of(f.rosenbrock),
        40,
        0.0,
        50.0,
        known=named((1.0,) * 4),
    ),
    Problem("ackley5", floats(5, -5.0, 10.0), of(f.ackley), 50, 0.0, 1.5, known=named((0.0,) * 5)),
    Problem(
        "griewank4",
        floats(4, -300.0, 600.0),
        of(f.griewank),
        40,
        0.0,
        1.0,
        known=named((0.0,) * 4),
    ),
    Problem(
        "camel",
        (a_float("x1", -3.0, 3.0), a_float("x2", -2.0, 2.0)),
        of(f.six_hump_camel),
        30,
        -1.031628453489877,
        0.05,
        known=named((0.08984201, -0.7126564)),
    ),
    Problem(
        "michalewicz5",
        floats(5, 0.0, math.pi),
        of(f.michalewicz),
        50,
        -4.687658179088148,
        0.7,
        known=named((2.202906, 1.570796, 1.284992, 1.923058, 1.720470)),
    ),
    Problem(
        "styblinski4",
        floats(4, -5.0, 5.0),
        of(f.styblinski_tang),
        40,
        -156.66466281508565,
        10.0,
        known=named((-2.903534,) * 4),
    ),
    Problem(
        "hartmann3",
        floats(3),
        of(f.hartmann3),
        30,
        -3.8627797873326624,
        0.05,
        known=named((0.114589, 0.555649, 0.852547)),
    ),
    Problem(
        "shekel4",
        floats(4, 0.0, 10.0),
        of(f.shekel),
        50,
        -10.536443153483534,
        3.0,
        known=named(SHEKEL),
    ),
    Problem("cosine8", floats(8, -0.6, 1.0), of(f.cosine), 50, 0.0, 0.3, known=named((0.0,) * 8)),
    Problem(
        "levy4_noisy",
        floats(4, -10.0, 10.0),
        of(f.levy),
        40,
        0.0,
        1.0,
        noise=1.0,
        known=named((1.0,) * 4),
    ),
    Problem(
        "ackley_mixed",
        (
            *({"name": f"b{i}", "type": "choice", "values": [True, False]} for i in (1, 2, 3)),
            *floats(2, -1.0, 1.5),
        ),
        _ackley_mixed,
        40,
        0.0,
        0.5,
        known={"b1": False, "b2": False, "b3": False, "x1": 0.0, "x2": 0.0},
    ),
    Problem(
        "func3c",
        (
            a_choice("h1", ["rosenbrock", "camel", "beale"]),
            a_choice("h2", ["rosenbrock", "camel", "flat"]),
            a_choice("h3", ["some", "much", "none"]),
            *floats(2, -2.0, 2.0),
        ),
        _func3c,
        40,
        -3.0948853604696307,
        0.2,
        known={"h1": "camel", "h2": "camel", "h3": "much", "x1": 0.08984201, "x2": -0.7126564},
    ),
    Problem(
        "townsend",
        (a_float("x1", -2.25, 2.5), a_float("x2", -2.5, 1.75)),
        _townsend,
        40,
        TOWNSEND,
        0.1,
        constraints=("c1",),
        known=named((2.0052927, 1.1944528)),
    ),
    Problem(
        "vessel",
        (
            an_int("shell", 1, 40),
            an_int("head", 1, 40),
            a_float("radius", 10.0, 100.0),
            a_float("length", 10.0, 200.0),
        ),
        _vessel,
        50,
        6.059714335048435,
        0.5,
        constraints=("c1", "c2", "c3"),
        known={"shell": 13, "head": 7, "radius": 42.098445, "length": 176.63661},
    ),
    Problem(
        "zdt1",
        floats(5),
        _zdt1,
        40,
        # 11 x 11 less the area below 1 - sqrt(x) on the unit interval.
        11.0 * 11.0 - 1 / 3,
        1.0,
        objectives=("f1", "f2"),
        reference=(11.0, 11.0),
    ),
    Problem(
        "levy4_failing",
        floats(4, -10.0, 10.0),
        _levy_failing,
        40,
        0.0,
        0.5,
        known=named((1.0,) * 4),
    ),
)
