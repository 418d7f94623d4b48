"""Results relative to the status quo: percent of change, and its standard error. Pure."""

import math

Moments = tuple[float, float | None]
"""Mean and standard error."""


def relativized(test: Moments, control: Moments) -> Moments | None:
    """Return ``100 * (test - control) / |control|`` and its standard error.

    By the delta method: the variance of a ratio of two independent means, to first order; see
    Deng, Knoblich and Lu, "Applying the Delta Method in Metric Analytics", KDD 2018, on percent
    change, without the covariance. ``None`` where the control's mean is 0. An error that is
    not known of either makes that of the ratio unknown.
    """
    (mean, sem), (base, base_sem) = test, control
    if base == 0:
        return None
    ratio = mean / base
    percent = 100.0 * math.copysign(1.0, base) * (ratio - 1.0)
    if sem is None or base_sem is None:
        return percent, None
    return percent, 100.0 * math.hypot(sem / base, ratio * base_sem / base)
