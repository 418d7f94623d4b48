"""Generators in the calling process: they answer as a worker process would."""

import pytest

from scheduler.generation import child
from scheduler.generation.inline import InlineGenerator
from scheduler.generation.protocol import GenerationRequest, Measured
from scheduler.model.definition import ExperimentDefinition

DEFINITION = ExperimentDefinition.model_validate(
    {
        "name": "toy",
        "parameters": [{"name": "x", "type": "range", "bounds": [0.0, 1.0]}],
        "objective": "-loss",
        "runner": {"type": "external"},
    }
)


def asked(generator="sobol", **more):
    return GenerationRequest(
        DEFINITION, generator, 7, **{"trials": 4, "arms_per_trial": 1, **more}
    )


def answer(generator, request):
    generator.ask(request)
    return generator.reply()


def by_worker(request):
    """Return what a worker process makes of a request, by the same function."""
    from scheduler.generation import wire

    line = child.answer(request, 0, ("key",), {})
    return wire.parse_answer(line, request, 0)


def test_one_trial_is_made_at_a_time_as_a_worker_makes_them():
    inline, cursor, arms = InlineGenerator(), 0, []
    for _ in range(4):
        reply = answer(inline, asked(cursor=cursor))
        ((proposal,),) = reply.trials
        arms.append(proposal.parameters)
        cursor = reply.cursor
    assert arms == [trial[0].parameters for trial in by_worker(asked()).trials]


def test_nothing_is_made_that_nobody_wants():
    inline = InlineGenerator()
    inline.wanted = False
    inline.ask(asked())
    assert (inline.busy, inline.reply()) == (True, None)
    inline.close()
    assert (inline.busy, inline.reply()) == (False, None)


def test_a_generator_is_kept_as_long_as_the_experiment_is_the_same(monkeypatch):
    made = []
    original = child.make
    monkeypatch.setattr(child, "make", lambda request: made.append(1) or original(request))
    inline = InlineGenerator()
    for _ in range(2):
        answer(inline, asked())
        inline.close()
    assert len(made) == 1
    other = DEFINITION.model_copy(update={"name": "other"})
    answer(inline, GenerationRequest(other, "sobol", 7, 1, 1))
    assert len(made) == 2


@pytest.mark.parametrize("error", [ValueError("no luck"), SystemExit(3), MemoryError()])
def test_sobol_steps_in_for_a_generator_that_fails(monkeypatch, error, capsys):
    class Broken:
        def generate(self, request):
            raise error

    original = child.make
    monkeypatch.setattr(
        child, "make", lambda r: Broken() if r.generator == "random" else original(r)
    )
    reply = answer(InlineGenerator(), asked("random", observed=(Measured({"x": 0.5}, {}),)))
    assert reply.generator == "sobol"
    assert reply.note.startswith("random cannot answer (")
    assert reply.note.endswith("; Sobol instead")


def test_where_sobol_fails_too_both_are_said(monkeypatch, capsys):
    class Nonsense:
        def generate(self, request):
            return request.reply([{"x": 7.0}])

    monkeypatch.setattr(child, "make", lambda _: Nonsense())
    assert answer(InlineGenerator(), asked("random")) == (
        "random cannot answer (its answer makes no sense: x = 7.0 is outside [0, 1]); "
        "Sobol instead; its answer makes no sense: x = 7.0 is outside [0, 1]"
    )


def test_ctrl_c_is_not_swallowed(monkeypatch):
    class Slow:
        def generate(self, request):
            raise KeyboardInterrupt

    monkeypatch.setattr(child, "make", lambda _: Slow())
    inline = InlineGenerator()
    with pytest.raises(KeyboardInterrupt):
        answer(inline, asked())
    assert not inline.busy
