"""Whether predictions come true as often as they say: statistics of predicted and observed. Pure.

The standardized error of an outcome is (observed - predicted mean) / predicted standard deviation.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

LEVELS = (50, 80, 95)
"""Per cent of the outcomes that intervals of these names should hold."""
ENOUGH = 8
"""Outcomes below which nothing is said of calibration."""
DOUBT = 0.005
"""How improbable an excess must be, were the model right, before it is blamed."""
NOTICEABLE = 1.3
"""Factor by which errors must differ from what was expected before it is worth a word."""
PREDICTS = 0.1
"""R-squared below which a model tells arms apart no better than their mean would."""
_LARGEST = 1e6


@dataclass(frozen=True, slots=True)
class Foretold:
    """One outcome and its prediction; ``sd`` includes the noise of the observation."""

    observed: float
    mean: float
    sd: float

    @property
    def error(self) -> float:
        """The standardized error, at most a million either way."""
        miss = self.observed - self.mean
        if miss == 0:
            return 0.0
        return max(-_LARGEST, min(_LARGEST, miss / max(self.sd, abs(miss) / _LARGEST)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """How predictions of one metric came true."""

    count: int
    coverage: Mapping[int, float]
    """Per cent of a central interval -> share of the outcomes that it held."""
    bias: float
    """Mean standardized error: above 0 where outcomes are larger than predicted."""
    spread: float
    """Root mean square of the standardized errors: 1 where the model's doubt is right."""
    rank_correlation: float | None
    """Spearman's, of predicted and observed; ``None`` where either is constant."""
    r_squared: float | None
    """Share of the variance that is predicted; ``None`` where there is none."""


def calibration(foretold: Sequence[Foretold]) -> Calibration | None:
    """Return how predictions came true; ``None`` where there are none."""
    if not foretold:
        return None
    errors = [each.error for each in foretold]
    halves = {level: NormalDist().inv_cdf(0.5 + level / 200) for level in LEVELS}
    observed, means = [each.observed for each in foretold], [each.mean for each in foretold]
    return Calibration(
        count=len(errors),
        coverage={k: fmean(abs(e) <= half for e in errors) for k, half in halves.items()},
        bias=fmean(errors),
        spread=math.sqrt(fmean(e * e for e in errors)),
        rank_correlation=rank_correlation(means, observed),
        r_squared=_r_squared(observed, means),
    )


def verdict(found: Calibration | None) -> str:
    """Return in one line whether such predictions can be relied on."""
    if found is None or found.count < ENOUGH:
        return f"too few: {found.count if found else 0} outcomes, {ENOUGH} are needed"
    n = found.count
    held = {level: round(share * n) for level, share in found.coverage.items()}
    too_narrow = any(_at_most(held[k], n, k / 100) < DOUBT for k in LEVELS)
    if (too_narrow or _exceeds(found)) and found.spread > NOTICEABLE:
        return f"overconfident: {_held(found, 95)}; errors are {_times(found)} what it expects"
    too_wide = any(_at_most(n - held[k], n, 1 - k / 100) < DOUBT for k in LEVELS)
    if too_wide and found.spread < 1 / NOTICEABLE:
        return f"underconfident: {_held(found, 50)}; errors are {_times(found)} what it expects"
    if abs(found.bias) * math.sqrt(n) > 3 * max(found.spread, 1.0):
        side = "above" if found.bias > 0 else "below"
        return f"biased: outcomes lie {abs(found.bias):.1f} sd {side} predictions on average"
    return "well calibrated"


def predicts(found: Calibration | None) -> bool:
    """Whether the model tells arms apart better than their mean would."""
    return found is None or found.r_squared is None or found.r_squared >= PREDICTS


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, ties at their mean rank; None where one is constant."""
    x, y = _ranks(a), _ranks(b)
    middle = (len(x) + 1) / 2
    xx = sum((p - middle) ** 2 for p in x)
    yy = sum((q - middle) ** 2 for q in y)
    if not xx or not yy:
        return None
    return sum((p - middle) * (q - middle) for p, q in zip(x, y, strict=True)) / math.sqrt(xx * yy)


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or values[order[end]] != values[order[start]]:
            for i in order[start:end]:
                ranks[i] = (start + end + 1) / 2
            start = end
    return ranks


def _r_squared(observed: Sequence[float], means: Sequence[float]) -> float | None:
    scale = max(map(abs, observed))
    if not scale:
        return None
    y = [value / scale for value in observed]
    centre = fmean(y)
    total = sum((value - centre) ** 2 for value in y)
    if total <= 1e-24 * len(y):
        return None
    missed = sum((value - mean / scale) ** 2 for value, mean in zip(y, means, strict=True))
    return 1 - missed / total


def _at_most(k: int, n: int, p: float) -> float:
    """Return the probability of at most ``k`` of ``n`` where each happens with ``p``."""
    logs = math.log(p), math.log1p(-p)
    terms = (
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
        + i * logs[0] + (n - i) * logs[1]
        for i in range(k + 1)
    )  # fmt: skip
    return math.fsum(map(math.exp, terms))


def _exceeds(found: Calibration) -> bool:
    """Whether the squared errors add up to more than chi-squared allows.

    By the cube root of their mean, which is almost normal (Wilson and Hilferty 1931).
    """
    width = 2 / (9 * found.count)
    root = (math.pow(found.spread, 2 / 3) - (1 - width)) / math.sqrt(width)
    return root > NormalDist().inv_cdf(1 - DOUBT)


def _held(found: Calibration, level: int) -> str:
    return f"{level} % intervals hold {found.coverage[level]:.0%} of {found.count} outcomes"


def _times(found: Calibration) -> str:
    return f"{found.spread:.1f} times"
