"""A few worker processes for many experiments: whose turn it is, and whose process lives."""

import pytest

from scheduler.generation.workers import Workers


class Worker:
    """A worker that answers when it is told to."""

    def __init__(self, wake):
        self.wake = wake
        self.asked = self.answer = None
        self.alive = False
        self.closed = 0

    def ask(self, request):
        assert self.asked is None
        self.asked, self.alive = request, True

    def reply(self):
        answer, self.answer = self.answer, None
        if answer is not None:
            self.asked = None
        return answer

    def close(self):
        self.alive, self.asked = False, None
        self.closed += 1


@pytest.fixture
def turns():
    workers = Workers(2, Worker)
    return [workers.client(lambda: None) for _ in range(5)]


def working(turns):
    return [i for i, turn in enumerate(turns) if turn.worker.asked is not None]


def alive(turns):
    return [i for i, turn in enumerate(turns) if turn.worker.alive]


def finish(turn, answer="done"):
    turn.worker.answer = answer
    assert turn.reply() == answer


def test_turns_are_taken_in_the_order_of_asking(turns):
    for i in (3, 0, 4, 1):
        turns[i].ask(f"request {i}")
    assert (working(turns), [turns[i].busy for i in (4, 1)]) == ([0, 3], [True, True])
    assert turns[4].reply() is None
    finish(turns[3])
    assert (working(turns), turns[3].busy) == ([0, 4], False)
    finish(turns[0])
    assert working(turns) == [1, 4]


def test_the_processes_that_were_asked_last_live_on(turns):
    for i in (0, 1, 0, 2):
        turns[i].ask("request")
        finish(turns[i])
    assert alive(turns) == [0, 2]
    assert turns[1].worker.closed == 1
    turns[1].ask("request")
    assert alive(turns) == [1, 2]


def test_none_at_work_is_ended_for_another(turns):
    for i in (0, 1, 2):
        turns[i].ask("request")
    assert alive(turns) == [0, 1]
    finish(turns[1])
    assert (alive(turns), working(turns)) == ([0, 2], [0, 2])


def test_who_leaves_makes_room(turns):
    for i in (0, 1, 2, 3):
        turns[i].ask("request")
    turns[2].close()
    turns[0].close()
    turns[0].close()
    assert (working(turns), alive(turns)) == ([1, 3], [1, 3])
    assert not turns[2].busy
    assert turns[2].reply() is None


def test_an_error_ends_a_turn_too(turns):
    for i in (0, 1, 2):
        turns[i].ask("request")
    finish(turns[0], "it cannot be done")
    assert working(turns) == [1, 2]
