"""The test functions of the literature, of one vector, minimized."""

import math
from collections.abc import Sequence

import numpy as np

Vector = Sequence[float]

_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_A3 = np.array([[3.0, 10, 30], [0.1, 10, 35], [3.0, 10, 30], [0.1, 10, 35]])
_P3 = 1e-4 * np.array(
    [[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]]
)
_A6 = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_P6 = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_SHEKEL_BETA = 0.1 * np.array([1, 2, 2, 4, 4, 6, 3, 7, 5, 5])
_SHEKEL_C = np.array(
    [
        [4, 1, 8, 6, 3, 2, 5, 8, 6, 7],
        [4, 1, 8, 6, 7, 9, 3, 1, 2, 3.6],
        [4, 1, 8, 6, 3, 2, 5, 8, 6, 7],
        [4, 1, 8, 6, 7, 9, 3, 1, 2, 3.6],
    ]
)


def branin(x: Vector) -> float:
    """On [-5, 10] x [0, 15]; three minima of 0.397887."""
    a, b = x
    bowl = b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6
    return bowl * bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10


def currin(x: Vector) -> float:
    """On the unit square."""
    a, b = x
    damp = 1 - math.exp(-1 / (2 * b)) if b > 0 else 1.0
    top = 2300 * a**3 + 1900 * a**2 + 2092 * a + 60
    return damp * top / (100 * a**3 + 500 * a**2 + 4 * a + 20)


def hartmann3(x: Vector) -> float:
    """On the unit cube; -3.86278."""
    return -float(_ALPHA @ np.exp(-(_A3 * (np.asarray(x) - _P3) ** 2).sum(axis=1)))


def hartmann6(x: Vector) -> float:
    """On the unit cube; -3.322368, and a second basin at -3.2032."""
    return -float(_ALPHA @ np.exp(-(_A6 * (np.asarray(x) - _P6) ** 2).sum(axis=1)))


def ackley(x: Vector) -> float:
    """0 at the origin."""
    v = np.asarray(x, dtype=float)
    root = math.exp(-0.2 * math.sqrt(float((v * v).mean())))
    return 20 + math.e - 20 * root - math.exp(float(np.cos(2 * math.pi * v).mean()))


def levy(x: Vector) -> float:
    """0 at (1, ..., 1)."""
    w = 1 + (np.asarray(x, dtype=float) - 1) / 4
    first = math.sin(math.pi * w[0]) ** 2
    middle = ((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)).sum()
    return float(first + middle + (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2))


def rosenbrock(x: Vector) -> float:
    """0 at (1, ..., 1)."""
    v = np.asarray(x, dtype=float)
    return float((100 * (v[1:] - v[:-1] ** 2) ** 2 + (1 - v[:-1]) ** 2).sum())


def griewank(x: Vector) -> float:
    """0 at the origin."""
    v = np.asarray(x, dtype=float)
    waves = np.cos(v / np.sqrt(np.arange(1, len(v) + 1)))
    return float((v * v).sum() / 4000 - waves.prod() + 1)


def six_hump_camel(x: Vector) -> float:
    """-1.031628 at (0.0898, -0.7126) and its mirror image."""
    a, b = x
    return (4 - 2.1 * a**2 + a**4 / 3) * a**2 + a * b + (4 * b**2 - 4) * b**2


def michalewicz(x: Vector) -> float:
    """On [0, pi]^d; -4.687658 for d = 5."""
    v = np.asarray(x, dtype=float)
    i = np.arange(1, len(v) + 1)
    return -float((np.sin(v) * np.sin(i * v * v / math.pi) ** 20).sum())


def styblinski_tang(x: Vector) -> float:
    """-39.16616570 for each dimension, at -2.903534."""
    v = np.asarray(x, dtype=float)
    return float((v**4 - 16 * v**2 + 5 * v).sum() / 2)


def shekel(x: Vector) -> float:
    """On [0, 10]^4, ten wells; -10.5363."""
    v = np.asarray(x, dtype=float)[:, None]
    return -float((1 / (((v - _SHEKEL_C) ** 2).sum(axis=0) + _SHEKEL_BETA)).sum())


def cosine(x: Vector) -> float:
    """0 at the origin (the Cosine8 of the literature, turned over and moved to 0)."""
    v = np.asarray(x, dtype=float)
    return float((v * v).sum() + 0.1 * (1 - np.cos(5 * math.pi * v)).sum())


def gramacy(x: Vector) -> tuple[float, float, float]:
    """Return the objective and two constraints (Gramacy et al. 2016); 0.599788."""
    a, b = x
    first = 1.5 - a - 2 * b - 0.5 * math.sin(2 * math.pi * (a * a - 2 * b))
    return a + b, first, a * a + b * b - 1.5


def dtlz2(x: Vector) -> tuple[float, float]:
    """Two objectives (Deb et al. 2002); the front is a quarter of the unit circle."""
    far = 1 + sum((v - 0.5) ** 2 for v in x[1:])
    angle = x[0] * math.pi / 2
    return far * math.cos(angle), far * math.sin(angle)
