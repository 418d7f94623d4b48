"""Linear expressions as text: ``2 * a - b / 4 + 1``, read and written."""

import re
from collections.abc import Mapping

from scheduler.model.base import plain

_NUMBER = r"(?>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"  # atomic: 1e5 is not 1 * e5
PARAMETER = r"[A-Za-z_][A-Za-z0-9_.]*"
"""What a name may be where ``a-b`` is a difference."""
METRIC = r"[A-Za-z_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?"
"""What a name may be where ``a-b`` is one name and ``a - b`` a difference."""


def _term(name: str) -> re.Pattern[str]:
    return re.compile(
        rf"\s*(?P<sign>[+-](?:\s*[+-])*)?\s*"
        rf"(?:(?P<factor>{_NUMBER})\s*\*?\s*(?P<name>{name})"
        rf"|(?P<name2>{name})\s*(?:(?P<op>[*/])\s*(?P<factor2>{_NUMBER}))?"
        rf"|(?P<constant>{_NUMBER}))\s*"
    )


_TERMS = {name: _term(name) for name in (PARAMETER, METRIC)}


def parse_linear(
    text: str, example: str, *, names: str = PARAMETER, whole: str = ""
) -> tuple[dict[str, float], float]:
    """Return (weights, constant) of a sum of numbers and of numbers times names.

    A name whose terms cancel keeps the weight 0. Raises ValueError, with ``example`` as advice and
    ``whole`` as the text that ``text`` is a part of.
    """
    weights: dict[str, float] = {}
    constant, position = 0.0, 0
    while position < len(text) or position == 0:
        term = _TERMS[names].match(text, position)
        if term is None or (position and not term["sign"]):
            at = text[position:].strip() or text.strip() or whole
            raise ValueError(
                f"cannot read {at!r} in {whole or text!r} as a linear term; {example}"
            )
        sign = -1.0 if (term["sign"] or "").count("-") % 2 else 1.0
        name = term["name"] or term["name2"]
        if name is None:
            constant += sign * float(term["constant"])
        else:
            weights[name] = weights.get(name, 0.0) + sign * _factor(term, whole or text)
        position = term.end()
    return weights, constant


def linear_text(weights: Mapping[str, float], constant: float = 0.0) -> str:
    """Return the expression as a user would write it; it reads back as the same."""
    terms = [(weight, f"{_times(weight)}{name}") for name, weight in weights.items()]
    if constant or not terms:
        terms.append((constant, plain(abs(constant))))
    first, *rest = terms
    text = ("-" if first[0] < 0 else "") + first[1]
    return text + "".join(f" {'-' if w < 0 else '+'} {t}" for w, t in rest)


def _times(weight: float) -> str:
    return "" if abs(weight) == 1 else f"{plain(abs(weight))} * "


def _factor(term: re.Match[str], whole: str) -> float:
    factor = float(term["factor"] or term["factor2"] or 1.0)
    if term["op"] != "/":
        return factor
    if factor == 0:
        raise ValueError(f"{whole!r} divides by zero")
    return 1.0 / factor
