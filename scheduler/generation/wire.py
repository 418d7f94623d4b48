"""How requests and replies cross a pipe: one JSON object a line. No numpy here."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeGuard, cast

from scheduler.generation.protocol import GenerationReply, GenerationRequest, Measured, Proposal
from scheduler.model.base import Value
from scheduler.model.definition import ExperimentDefinition


class Nonsense(Exception):
    """A line that is not a reply, or a reply that cannot be right; its text says why."""


def definition_line(definition: ExperimentDefinition) -> tuple[str, bytes]:
    """Return (digest, line): the definition is sent once, requests name it by its digest."""
    text = definition.canonical()
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return digest, _line({"kind": "definition", "digest": digest, "definition": text})


def request_line(request: GenerationRequest, digest: str, number: int) -> bytes:
    """Return ``request`` without its definition, as a line; its answer bears ``number``."""
    fields = {name: getattr(request, name) for name in _PLAIN}
    observed = [[dict(o.parameters), dict(o.metrics)] for o in request.observed]
    arms = {
        name: [dict(arm) for arm in getattr(request, name)]
        for name in ("pending", "seen", "failed")
    }
    baseline = None if request.baseline is None else dict(request.baseline)
    data = {**fields, **arms, "observed": observed, "baseline": baseline}
    return _line({"kind": "request", "number": number, "digest": digest, "request": data})


def parse_request(data: Mapping[str, Any], definition: ExperimentDefinition) -> GenerationRequest:
    """Return what :func:`request_line` was given."""
    observed = tuple(
        Measured(parameters, {name: (mean, sem) for name, (mean, sem) in metrics.items()})
        for parameters, metrics in data["observed"]
    )
    fields: dict[str, Any] = {name: data[name] for name in (*_PLAIN, "baseline")}
    return GenerationRequest(
        definition=definition,
        observed=observed,
        pending=tuple(data["pending"]),
        seen=tuple(data["seen"]),
        failed=tuple(data["failed"]),
        **fields,
    )


def reply_line(reply: GenerationReply, number: int) -> bytes:
    """Return ``reply`` as a line."""
    return _line({"kind": "reply", "number": number, "reply": asdict(reply)})


def refusal_line(text: str, number: int) -> bytes:
    """Return the line that says why there will be no arms."""
    return _line({"kind": "refusal", "number": number, "text": text})


def parse_answer(line: bytes, request: GenerationRequest, number: int) -> GenerationReply | str:
    """Return the reply to ``request``, or the sentence of a refusal; raise :class:`Nonsense`.

    A reply is believed only where every arm is admitted, new, and what was asked for.
    """
    try:
        data = json.loads(line, parse_constant=_no_constant)
        if data["number"] != number:
            raise ValueError(f"it answers request {data['number']}, not {number}")
        if data["kind"] == "refusal":
            return str(data["text"])
        raw = data["reply"]
        trials = tuple(tuple(_proposal(p, request) for p in trial) for trial in raw["trials"])
        reply = GenerationReply(
            generator=request.generator,
            trials=trials,
            cursor=int(raw["cursor"]),
            seconds=float(raw["seconds"]),
            exhausted=raw["exhausted"] is True,
            note=str(raw["note"]),
            node=request.node,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Nonsense(f"its answer makes no sense: {error}") from error
    _check_count(reply, request)
    _check_new(reply, request)
    return reply


_PLAIN = (
    *("generator", "seed", "trials", "arms_per_trial", "cursor"),
    *("sobol_cursor", "node", "node_trials", "options"),
)


def _proposal(data: Mapping[str, Any], request: GenerationRequest) -> Proposal:
    prediction, insight = data["prediction"], data["insight"]
    for moments in (prediction or {}).values():
        if not (
            _is_finite(moments["mean"]) and _is_finite(moments["sem"]) and moments["sem"] >= 0
        ):
            raise ValueError(f"a prediction of {moments}")
    for key, value in (insight or {}).items():
        if not _is_finite(value) or (key.startswith("p_") and not 0 <= value <= 1):
            raise ValueError(f"an insight of {key} = {value!r}")
    weight = data["weight"]
    if not (_is_finite(weight) and weight > 0):
        raise ValueError(f"a weight of {weight!r}")
    return Proposal(
        request.definition.admit(data["parameters"]), prediction, insight, float(weight)
    )


def _is_finite(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a number; ``1e999`` in JSON is read as infinity."""
    return type(value) in (int, float) and math.isfinite(cast(float, value))


def _check_count(reply: GenerationReply, request: GenerationRequest) -> None:
    sizes = [len(trial) for trial in reply.trials]
    wanted = [request.arms_per_trial] * request.trials
    if sizes == wanted:
        return
    short = reply.exhausted and len(sizes) <= request.trials and 0 not in sizes
    if not short or sizes[:-1] != wanted[: len(sizes)][:-1] or sum(sizes) > sum(wanted):
        raise Nonsense(f"it was asked for {sum(wanted)} arms and made {sum(sizes)}")


def _check_new(reply: GenerationReply, request: GenerationRequest) -> None:
    names = tuple(request.definition.by_name)
    used = {_key(arm, names) for arm in (*request.seen, *request.pending)}
    for trial in reply.trials:
        for proposal in trial:
            key = _key(proposal.parameters, names)
            if key in used:
                raise Nonsense("it made an arm that there is already")
            used.add(key)


def _key(arm: Mapping[str, Value], names: Sequence[str]) -> tuple[Value | None, ...]:
    return tuple(arm.get(name) for name in names)  # a dependent parameter may be inactive


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a value")
