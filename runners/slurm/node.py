"""Run on a node: one task of a Slurm job. Lies as ``__main__.py`` beside ``wrapper.py``.

It is copied beside the tasks at submission, so that the nodes need no schedd of their own, and a
job that has waited for days is run by the code that submitted it. What it imports costs nothing,
and it must run on any Python from 3.9 on.
"""

import fcntl
import posix
import sys
import time

if __name__ != "__main__":
    from runners import wrapper
else:
    import wrapper  # type: ignore[import-not-found,no-redef]  # beside this file, on the node

RESUME = b"resume"
"""In the file of a submission: a requeued task may run again."""


TRIES = 5
"""To take a lock, a moment apart."""


def whole(path: bytes) -> bytes:
    """Return a file's content."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, posix.fstat(fd).st_size)
    finally:
        posix.close(fd)


def number(name: bytes) -> int:
    """Return a number that Slurm tells, 0 where it does not."""
    text = posix.environ.get(name, b"")
    return int(text) if text.isdigit() else 0


def identity() -> bytes:
    """Return which start of which Slurm job this is, as JSON fields."""
    job = posix.environ.get(b"SLURM_ARRAY_JOB_ID") or posix.environ.get(b"SLURM_JOB_ID", b"")
    task = posix.environ.get(b"SLURM_ARRAY_TASK_ID", b"")
    text = job + b"_" + task if task else job
    node = posix.environ.get(b"SLURMD_NODENAME", b"")
    parts = text.decode("ascii", "replace"), node.decode("ascii", "replace")
    words = [part.replace("\\", "").replace('"', "").encode() for part in parts]
    restart = number(b"SLURM_RESTART_COUNT")
    boot = wrapper.read(b"/proc/sys/kernel/random/boot_id").strip()
    fields = b'"batch_id": "%s", "restart": %d, "node": "%s", "host": "%s", "boot_id": "%s"'
    return fields % (words[0], restart, words[1], posix.uname().nodename.encode(), boot)


def open_lock(place: bytes) -> int:
    """Return the open lock of a task, which everything that the task starts inherits."""
    flags = posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC
    fd = posix.open(place + b"/lock", flags, 0o600)
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD, wrapper.HIGH_FD)
    finally:
        posix.close(fd)


def lock(order: "wrapper.Order") -> "bool | None":
    """Take the task's lock; ``None`` where the shared disk knows no locks.

    Somebody who only looks at it has it for a moment, so one refusal is none.
    """
    order.lock_fd = open_lock(order.place)
    try:
        for _ in range(TRIES):
            if wrapper.lock_is_free(order.lock_fd):
                return True
            time.sleep(0.2)
    except OSError:
        return None
    return False


def field(claim: bytes, name: bytes) -> bytes:
    """Return a field of a claim that :func:`identity` wrote, as text."""
    _, found, rest = claim.partition(b'"%s": ' % name)
    return rest.split(b",")[0].strip(b'"} \n') if found else b""


def may_resume(order: "wrapper.Order", head: bytes) -> bool:
    """Whether the claim is of an earlier start of this Slurm job, which did not come to its end.

    The lock is ours, so nothing of that start is alive.
    """
    old = wrapper.read(order.place + b"/claim")
    if wrapper.exists(order.place + b"/cancel"):
        return False
    same = [field(old, name) == field(head, name) != b"" for name in (b"job", b"batch_id")]
    earlier = int(field(old, b"restart") or 0) < int(field(head, b"restart"))
    if not (all(same) and earlier):
        return False
    if not wrapper.exists(order.place + b"/exit.json"):
        return True
    end = wrapper.read(order.place + b"/exit.json")
    signalled = field(end, b"signal") != b"0" or int(field(end, b"rc") or 0) >= 128
    return signalled or field(end, b"ended_by") == b"interrupt"


def take_over(order: "wrapper.Order", head: bytes) -> None:
    """Put our claim in the place of that of an earlier start, whose record is set aside."""
    place = order.place
    if wrapper.exists(place + b"/exit.json"):
        posix.replace(place + b"/exit.json", place + b"/exit.before.json")
    wrapper.put(place + b"/claim.next", head + b"}\n")
    posix.replace(place + b"/claim.next", place + b"/claim")
    wrapper.sync(place)


def take(order: "wrapper.Order", head: bytes, *, resume: bool) -> bool:
    """Make the task ours, once and for all; return False where it is another's."""
    free = lock(order)
    if free is False:
        return False
    if wrapper.claim(order.place, head + b"}\n"):
        return True
    if not (resume and free and may_resume(order, head)):
        return False
    take_over(order, head)
    return True


def oom_kills() -> int:
    """Return how many processes of our cgroup the kernel has killed for want of memory.

    Slurm ends no job for that, and says OUT_OF_MEMORY when all is over: too late for the record.
    """
    kills = 0
    for row in wrapper.read(b"/proc/self/cgroup").split(b"\n"):
        _, _, rest = row.partition(b":")
        controllers, _, path = rest.partition(b":")
        if rest and not controllers:
            file = b"/sys/fs/cgroup" + path + b"/memory.events"
        elif b"memory" in controllers.split(b","):
            file = b"/sys/fs/cgroup/memory" + path + b"/memory.oom_control"
        else:
            continue
        try:
            words = wrapper.read(file).split()
        except OSError:
            continue  # this kernel does not tell
        if b"oom_kill" in words[:-1]:
            kills += int(words[words.index(b"oom_kill") + 1])
    return kills


def carry_out(order: "wrapper.Order", head: bytes) -> int:
    """Run the command and record its end; return a shell's status of it."""
    before = oom_kills()
    status, outcome = wrapper.run(order)
    if status and oom_kills() > before:
        outcome += b', "oom": true'
    wrapper.record(order, head, outcome)
    return status


def order_of(here: bytes) -> "tuple[wrapper.Order, bool]":
    """Return the order of this element of the array, and whether it may run again."""
    mode, *places = whole(here + b"/tasks").split(b"\0")
    order = wrapper.Order(whole(places[number(b"SLURM_ARRAY_TASK_ID")] + b"/order"))
    order.env = {**posix.environ, **order.env}
    order.head += b", " + identity()
    return order, mode == RESUME


def main(argv: "list[str]") -> None:
    """Run the task, or record that its setup failed: ``argv`` then has the status and the line."""
    wrapper.prepare()
    order, resume = order_of(argv[0].encode("utf-8", "surrogateescape"))
    head = wrapper.identity(order)
    if not take(order, head, resume=resume):
        posix._exit(wrapper.NOT_OURS)
    if len(argv) > 1:
        status = int(argv[1]) or 1
        line = argv[2].encode("ascii", "replace").replace(b"\\", b"/").replace(b'"', b"'")
        line = bytes(c if c >= 32 else 32 for c in line)[:150]
        wrapper.record(order, head, wrapper.failure(status, line, b"setup"))
    else:
        status = carry_out(order, head)
    posix._exit(status)


if __name__ == "__main__":
    main(sys.argv)
