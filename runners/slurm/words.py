"""What Slurm's words mean: why a job waits, and what its end was. Pure."""

import re
from collections.abc import Mapping

from runners.base import JobState
from runners.slurm.queue import Line

HELD = frozenset({"JobHeldUser", "JobHeldAdmin", "job_requeued_in_held_state"})
"""Reasons of jobs that wait for somebody's word."""
LAUNCH_FAILED = frozenset({"launch_failed_requeued_held", "JobHoldMaxRequeue"})
"""Reasons of jobs that Slurm could not start and will not try again."""

_WAITS: Mapping[str, str] = {
    "": "it waits to be looked at",
    "None": "it waits to be looked at",
    "Priority": "jobs of higher priority are before it",
    "Resources": "it is the next to run as soon as there are resources",
    "Dependency": "it waits for a job that it depends on",
    "DependencyNeverSatisfied": "the job that it depends on will never satisfy it",
    "BeginTime": "its earliest start has not come, perhaps because it was requeued",
    "Licenses": "it waits for a license",
    "Reservation": "it waits for its reservation",
    "ReqNodeNotAvail": "nodes that it needs are not available, down or reserved",
    "JobHeldUser": "it is held, by its user",
    "JobHeldAdmin": "it is held, by an administrator",
    "job_requeued_in_held_state": "it was put back into the queue and is held",
    "launch_failed_requeued_held": "it could not be started, and is held",
    "JobHoldMaxRequeue": "it was requeued too often, and is held",
    "PartitionConfig": "it asks for more than the partition has or allows",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionNodeLimit": "it asks for more nodes than the partition allows, or they are down",
    "PartitionTimeLimit": "it asks for more time than the partition allows",
    "NodeDown": "a node that it needs is down",
    "BadConstraints": "no node satisfies its constraints",
    "InvalidAccount": "its account is invalid",
    "InvalidQOS": "its QOS is invalid",
    "Cleaning": "it was requeued, and its last run is being cleaned up",
    "Prolog": "its prolog runs",
    "JobArrayTaskLimit": "as many elements of its array run as may",
    "MaxRequeue": "it was requeued too often",
    "Requeued": "it was put back into the queue",
    "SystemFailure": "a system of the cluster fails",
}
_LIMIT = re.compile(r"(Assoc|QOS)(Grp|Max)?(\w*?)(Limit|PerUser|PerAccount|PerUserLimit)?")
CONFUSED = "CONFUSED"
"""Our word for CANCELLED, where it says so that does not know what it did."""
_ENDS: Mapping[str, tuple[JobState, str | None, str]] = {
    "CANCELLED": (JobState.CANCELLED, None, "somebody cancelled it in Slurm"),
    CONFUSED: (JobState.INTERRUPTED, "LOST", "Slurm lost its memory, then ended it by mistake"),
    "TIMEOUT": (JobState.FAILED, "TIMEOUT", "it ran into its time limit in Slurm"),
    "DEADLINE": (JobState.FAILED, "TIMEOUT", "its deadline in Slurm has passed"),
    "OUT_OF_MEMORY": (JobState.FAILED, "OOM", "it used more memory than it asked for"),
    "NODE_FAIL": (JobState.INTERRUPTED, "NODE_FAIL", "a node of it failed"),
    "BOOT_FAIL": (JobState.INTERRUPTED, "NODE_FAIL", "a node of it could not be booted"),
    "PREEMPTED": (JobState.INTERRUPTED, "PREEMPTED", "a job of higher priority took its place"),
    "REVOKED": (JobState.INTERRUPTED, "PREEMPTED", "another cluster of the federation took it"),
}
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def squeezed(reason: str) -> str:
    """Return a reason as one word: some of Slurm's have spaces or a detail after a comma."""
    return reason.strip("()").partition(",")[0].replace(" ", "_")


def why(line: Line) -> str:
    """Return why a job waits, as a sentence that ends with Slurm's own word."""
    word = squeezed(line.reason)
    text = _WAITS.get(word)
    if text is None and word.startswith("ReqNodeNotAvail"):
        text = _WAITS["ReqNodeNotAvail"]
    if text is None and _LIMIT.fullmatch(word):
        whose = "the association" if word.startswith("Assoc") else "the QOS"
        text = f"{whose} is at a limit of its own"
    said = line.reason or line.state
    return f"{text} ({said})" if text else f"it waits in Slurm ({said})"


def end(line: Line) -> tuple[JobState, str | None, str] | None:
    """Return what a final state says by itself; ``None`` for COMPLETED and FAILED."""
    found = _ENDS.get(line.state)
    if found is None:
        return None
    state, reason, message = found
    if line.nodes and reason == "NODE_FAIL":
        message = f"{message}: {line.nodes}"
    if line.uid:
        message = f"{message}, the user with id {line.uid}"
    return state, reason, f"{message} ({line.state})"


def node(line: Line) -> str | None:
    """Return the node that a job ran on, where it was only one."""
    return line.nodes if _NODE.fullmatch(line.nodes) else None
