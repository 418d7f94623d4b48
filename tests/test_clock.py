"""Time that does not jump: what steps of the wall clock, reboots and suspension do to it."""

import time
from importlib import import_module
from types import SimpleNamespace

import pytest

from scheduler import clock
from scheduler.clock import Anchor, Clock


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with a wall clock, a clock since boot, and the id of its boot."""
    import_module("scheduler.storage.term")  # it takes the real clock when it is imported
    made = SimpleNamespace(wall=1e9, boottime=50.0, boot_id=tmp_path / "boot_id")
    made.boot_id.write_text("first\n")
    monkeypatch.setattr(clock, "BOOT_ID", made.boot_id)
    monkeypatch.setattr(clock, "boottime", lambda: made.boottime)
    real = {name: getattr(time, name) for name in ("clock_gettime", "CLOCK_MONOTONIC")}
    told = SimpleNamespace(time=lambda: made.wall, **real)  # leases go by the real time since boot
    monkeypatch.setattr(clock, "time", told)
    return made


def test_the_first_clock_takes_the_wall_clock(machine):
    assert Clock().now() == 1e9


@pytest.mark.parametrize("step", [-3e8, -1.0, 3600.0, 3e8])
def test_a_step_of_the_wall_clock_does_not_show_while_it_lives(machine, step):
    living = Clock()
    machine.wall += step
    machine.boottime += 7.0
    assert living.now() == 1e9 + 7.0


@pytest.mark.parametrize("step", [-3e8, -1.0, 3600.0, 3e8])
def test_nor_does_a_step_between_two_processes_of_one_boot(machine, step):
    anchor = Clock().anchor()
    machine.wall += step
    machine.boottime += 7.0
    assert Clock(anchor).now() == 1e9 + 7.0


def test_suspension_counts(machine):
    living = Clock()
    machine.boottime += 7200.0
    assert living.now() == 1e9 + 7200.0


@pytest.mark.parametrize(
    ("wall", "now"),
    [(1e9 + 500.0, 1e9 + 500.0), (1e9 - 3e8, 1e9)],
    ids=["on", "back"],
)
def test_after_a_reboot_the_wall_clock_counts_but_time_never_goes_back(machine, wall, now):
    anchor = Clock().anchor()
    machine.wall, machine.boottime = wall, 3.0
    machine.boot_id.write_text("second\n")
    assert Clock(anchor).now() == now


def test_a_chain_of_anchors_loses_nothing(machine):
    anchor = Clock().anchor()
    for _ in range(100):
        machine.boottime += 1.5
        machine.wall -= 1000.0
        anchor = Clock(Anchor.from_json(anchor.to_json())).anchor()
    assert Clock(anchor).now() == 1e9 + 150.0


def test_a_machine_without_boot_ids_takes_the_later_of_wall_clock_and_anchor(machine):
    anchor = Clock().anchor()
    machine.boot_id.unlink()
    machine.wall = 1e9 - 100.0
    assert Clock(anchor).now() == 1e9


def test_an_anchor_survives_storage():
    anchor = Anchor("first", 0.1 + 0.2, 1e9 + 1e-7)
    assert Anchor.from_json(anchor.to_json()) == anchor
    assert Anchor.from_json("") is None


def test_the_real_clock_does_not_go_back():
    real = Clock()
    assert real.now() <= real.now()
    assert Clock(real.anchor()).now() >= real.now() - 1e-6
