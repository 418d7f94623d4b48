"""The process around one task's command: claims the task, runs the command, records its end.

It outlives whoever started it, and every command pays for its start: so it imports only what
costs next to nothing (``posix``, not ``os``; ``_signal``, not ``signal``) and leaves by ``_exit``.
Its promises, and the order of its steps, are in ``runners/README.md``.
"""

import _signal  # type: ignore[import-not-found]  # signal would load enum: 4 ms per command
import fcntl
import posix
import time

VERSION = b"1"
"""Of the order, sent by a caller that may be older than the file on disk."""
HIGH_FD = 100
"""Inherited descriptors lie this high, where a shell's ``exec 3>file`` does not close them."""
NOT_OURS = 77
"""Exit status of a wrapper that found its task claimed."""
NO_GO = 75
"""Exit status of a wrapper whose submitter died before all the tasks' wrappers stood."""
TELL = frozenset((_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP))
FORWARD = frozenset((_signal.SIGUSR1, _signal.SIGUSR2))
"""Passed on to the command and no more: it may save its state."""
WATCHED = frozenset((*TELL, *FORWARD, _signal.SIGCHLD))
LOOK = 0.5
"""Seconds between two looks at the size of the logs."""
KILL_WAIT = 2.0
"""Seconds that killed processes get to vanish; a zombie that nobody reaps must not hold us."""
CUT = b"\n[schedd: the output was too long, a part is left out here]\n"
BLOCK = 1 << 20


class Order:
    """What to do, as :func:`encode` wrote it: NUL-separated, since no argument can hold a NUL."""

    __slots__ = ("argv", "env", "go_fd", "grace", "head", "limit", "lock_fd", "place", "workdir")

    def __init__(self, text: bytes) -> None:
        version, self.place, self.workdir, self.head, *rest = text.split(b"\0")
        if version != VERSION:
            raise SystemExit("schedd was updated while its daemon ran: restart the daemon")
        self.lock_fd, self.go_fd, self.limit = int(rest[0]), int(rest[1]), int(rest[2])
        self.grace, count = float(rest[3]), int(rest[4])
        self.argv = rest[5 : 5 + count]
        pairs = (entry.partition(b"=") for entry in rest[5 + count :])
        self.env = {key: value for key, _, value in pairs}


def read(path: "bytes | str") -> bytes:
    """Return the start of a small file of the kernel's."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 4096)
    finally:
        posix.close(fd)


def read_order(fd: int) -> Order:
    """Return the order that lies in ``fd``, whole."""
    return Order(posix.pread(fd, posix.fstat(fd).st_size, 0))


def put(path: bytes, data: bytes) -> None:
    """Write ``data`` to ``path``; on return it is on disk."""
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW | posix.O_CLOEXEC
    fd = posix.open(path, flags, 0o600)
    try:
        posix.write(fd, data)
        posix.fsync(fd)
    finally:
        posix.close(fd)


def sync(place: bytes) -> None:
    """Bring the names in the folder ``place`` to disk."""
    fd = posix.open(place, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        posix.fsync(fd)
    finally:
        posix.close(fd)


def claim(place: bytes, data: bytes) -> bool:
    """Make ``data`` the one and only claim in ``place``; return whether it is ours.

    A link, not an exclusive create: the claim appears with its content, or not at all.
    """
    temp = b"%s/claim.%d" % (place, posix.getpid())
    put(temp, data)
    try:
        posix.link(temp, place + b"/claim")
    except FileExistsError:
        return False
    finally:
        posix.unlink(temp)
    sync(place)
    return True


def stat_fields(pid: "bytes | str") -> list[bytes]:
    """Return /proc/<pid>/stat from the state on: [0] state, [2] group, [3] session, [19] start."""
    path = b"/proc/%s/stat" % (pid if isinstance(pid, bytes) else pid.encode())
    return read(path).rpartition(b")")[2].split()


def lock_is_free(fd: int) -> bool:
    """Take the lock of the open file ``fd`` and return True, or return False."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holds(pid: str, lock: tuple[int, int]) -> bool:
    """Return whether the process has the file ``lock`` (device, inode) open."""
    folder = f"/proc/{pid}/fd/"
    for name in posix.listdir(folder):
        try:
            at = posix.stat(folder + name)
        except OSError:
            continue  # closed meanwhile, or a socket of somebody else's
        if (at.st_dev, at.st_ino) == lock:
            return True
    return False


def survivors(session: int, lock: tuple[int, int]) -> list[tuple[int, int]]:
    """Return (pid, process group) of all but us who live in ``session`` or hold ``lock``."""
    found = []
    for name in posix.listdir("/proc"):
        if not name.isdigit() or int(name) == posix.getpid():
            continue
        try:
            fields = stat_fields(name)
            if fields[0] not in b"ZX" and (int(fields[3]) == session or holds(name, lock)):
                found.append((int(name), int(fields[2])))
        except OSError:
            continue  # it ended meanwhile, or belongs to another user
    return found


def send(target: int, number: int) -> None:
    """Signal a process, or the group ``-target``, unless it is gone or belongs to another user."""
    try:
        posix.kill(target, number)
    except (ProcessLookupError, PermissionError):
        return


def trim(fd: int, limit: int) -> None:
    """Keep the first half of what ``limit`` allows and the last quarter; cut what lies between.

    The writers append, so they go on behind the new end. What they write meanwhile is lost.
    """
    size = posix.fstat(fd).st_size
    if size <= limit:
        return
    log = posix.open(b"/proc/self/fd/%d" % fd, posix.O_RDWR | posix.O_CLOEXEC)
    try:
        at = limit // 2
        at += posix.pwrite(log, CUT, at)
        start = size - limit // 4
        while start < size:
            block = posix.pread(log, min(BLOCK, size - start), start)
            if not block:
                break  # the program itself has shortened it
            at += posix.pwrite(log, block, at)
            start += len(block)
        posix.ftruncate(log, at)
    finally:
        posix.close(log)


class Body:
    """The command and all it started."""

    def __init__(self, order: Order) -> None:
        """Start it. Raises OSError where that is impossible; then nothing of it runs."""
        self.order = order
        self.leash, held = posix.pipe()
        posix.set_blocking(self.leash, False)
        high = fcntl.fcntl(held, fcntl.F_DUPFD, min(HIGH_FD, order.lock_fd))
        posix.close(held)
        try:
            self.pid = self._spawn()
        finally:
            posix.close(high)
        at = posix.fstat(order.lock_fd)
        self.lock = at.st_dev, at.st_ino
        self.status: int | None = None

    def _spawn(self) -> int:
        order = self.order
        posix.chdir(order.workdir)
        # posix_spawnp searches the PATH of this process, which was started without any.
        posix.putenv(b"PATH", order.env.get(b"PATH", b"/usr/local/bin:/usr/bin:/bin"))
        return posix.posix_spawnp(
            order.argv[0],
            order.argv,
            order.env,
            file_actions=[(posix.POSIX_SPAWN_OPEN, 0, b"/dev/null", posix.O_RDONLY, 0)],
            setpgroup=0,
            setsigmask=(),
            setsigdef=(_signal.SIGPIPE, _signal.SIGXFSZ),
        )

    def tell(self, number: int) -> None:
        """Send a signal to every process of the command, once each."""
        send(-self.pid, number)
        for pid, group in survivors(posix.getpid(), self.lock):
            if group != self.pid:
                send(pid, number)

    def reap(self) -> bool:
        """Return whether the command itself has ended, and note how."""
        if self.status is None:
            pid, status = posix.waitpid(self.pid, posix.WNOHANG)
            self.status = status if pid else None
        return self.status is not None

    def leaves(self) -> bool:
        """Return whether something that the command started still runs, after its own end.

        Two cheap questions first: has its group members, does somebody hold its pipe? Only then
        the look through /proc, which also tells a zombie from a process.
        """
        try:
            posix.killpg(self.pid, 0)
        except ProcessLookupError:
            try:
                posix.read(self.leash, 1)
            except BlockingIOError:
                pass  # somebody holds the other end
            else:
                return False
        return bool(survivors(posix.getpid(), self.lock))


def guard(body: Body) -> bool:
    """Return when nothing of ``body`` runs any more: True where it was told to end.

    It is told when this process is (SIGTERM) and, for what it left behind, by its own end.
    """
    order, told, deadline, last = body.order, False, None, None
    while True:
        ended = body.reap()
        if ended and not body.leaves():
            break
        if ended and deadline is None:
            body.tell(_signal.SIGTERM)
            deadline = time.monotonic() + order.grace
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            body.tell(_signal.SIGKILL)
            last = last or now + KILL_WAIT
            if ended and now >= last:
                break
        pause = 0.02 if deadline is not None and (last is None or now < last) else LOOK
        caught = _signal.sigtimedwait(WATCHED, pause)
        trim_logs(order.limit)
        told = heed(body, caught.si_signo if caught else 0, told)
        if told and deadline is None:
            deadline = time.monotonic() + order.grace
    trim_logs(order.limit)
    return told


def heed(body: Body, number: int, told: bool) -> bool:
    """Pass the signal ``number`` on to the command; return whether that was ever told to end."""
    ended = body.reap()
    if number in FORWARD and not ended:
        send(body.pid, number)
    if number not in TELL:
        return told
    if not told and not ended:
        body.tell(_signal.SIGTERM)
    return told or not ended or body.status != 0


def died_with_us(status: int) -> bool:
    """Whether the command, which failed, did so because all of its family was told to end.

    A batch system signals every process at once, so the command may die of it before we hear it.
    """
    told = posix.WIFSIGNALED(status) and posix.WTERMSIG(status) in TELL
    return bool(status) and _signal.sigtimedwait(TELL, LOOK if told else 0) is not None


def trim_logs(limit: int) -> None:
    """Keep both logs within ``limit`` bytes, where that is possible."""
    for fd in (1, 2):
        try:
            trim(fd, limit)
        except OSError:
            continue  # a log too long is better than a command without its guard


def exists(path: bytes) -> bool:
    """Return whether something of that name is there."""
    try:
        posix.lstat(path)
    except FileNotFoundError:
        return False
    return True


def run(order: Order) -> tuple[int, bytes]:
    """Run the command to its end; return a shell's status of it, and JSON fields to record."""
    try:
        body = Body(order)
    except OSError as error:
        code = 127 if isinstance(error, FileNotFoundError) else 126
        reason = posix.strerror(error.errno or 0).encode()
        where = b"workdir" if error.filename == order.workdir else b"command"
        return code, failure(code, reason, where)
    told = guard(body) or died_with_us(body.status or 0)
    code = posix.waitstatus_to_exitcode(body.status or 0)
    asked = exists(order.place + b"/cancel")
    ended_by = b"cancel" if told and asked else b"interrupt" if told else b"itself"
    fields = b'"rc": %d, "signal": %d, "ended_by": "%s"'
    return code if code >= 0 else 128 - code, fields % (max(code, 0), max(-code, 0), ended_by)


def failure(code: int, reason: bytes, where: bytes) -> bytes:
    """Return what is recorded of a command that was never started, as JSON fields."""
    return b'"rc": %d, "signal": 0, "error": "%s", "where": "%s"' % (code, reason, where)


def may_go(order: Order) -> bool:
    """Wait until the wrappers of all tasks of the job stand; return False if that failed."""
    if order.go_fd < 0:
        return True
    told = posix.read(order.go_fd, 1)
    posix.close(order.go_fd)
    return told == b"g"


def prepare() -> None:
    """Keep the signals that :func:`guard` waits for until it does."""
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_BLOCK, WATCHED)


def identity(order: Order) -> bytes:
    """Return how a claim and a record begin: an object of JSON that is still open."""
    start = int(stat_fields("self")[19])
    head = b'{%s, "pid": %d, "starttime": %d, "started_at": %.6f'
    return head % (order.head, posix.getpid(), start, time.time())


def record(order: Order, head: bytes, outcome: bytes) -> None:
    """Write how it ended; on return it is on disk."""
    put(order.place + b"/exit.tmp", b'%s, "ended_at": %.6f, %s}\n' % (head, time.time(), outcome))
    posix.replace(order.place + b"/exit.tmp", order.place + b"/exit.json")
    sync(order.place)


def main() -> None:
    """Carry out the order that lies in standard input, and leave the process."""
    order = read_order(0)
    prepare()
    if not may_go(order):
        posix._exit(NO_GO)
    head = identity(order)
    if not (lock_is_free(order.lock_fd) and claim(order.place, head + b"}\n")):
        posix._exit(NOT_OURS)
    _, outcome = run(order)
    record(order, head, outcome)
    posix._exit(0)
