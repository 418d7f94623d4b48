"""Slurm's commands as a user's PATH has them, each noted in a log; a test may step in between.

Every call of a command is one line: when, the command, its first words. A hook is a fragment of
shell that runs once, in the next call of one command, before the real one or after it.
"""

import shlex
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from services.debian import PATH

COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "sacctmgr")
BEFORE, AFTER, INSTEAD = "before", "after", "instead"
KILL_SCHEDD = "kill -9 $PPID"
"""The command's parent is schedd."""

_SCRIPT = """\
#!/bin/sh
echo "$(date +%s.%N) {name} $*" | head -n 1 >> {log}
due() {{ [ -e {hooks}/{name}.$1 ] && mv {hooks}/{name}.$1 {hooks}/{name}.$1.$$ 2>/dev/null; }}
real={real}
if due instead; then . {hooks}/{name}.instead.$$; exit $?; fi
if due before; then . {hooks}/{name}.before.$$; fi
{real} "$@"
status=$?
if due after; then . {hooks}/{name}.after.$$; fi
exit $status
"""


@dataclass(frozen=True)
class Call:
    """One call of one command."""

    at: float
    command: str
    words: str


class Commands:
    """A folder of wrappers, to be put first in a PATH."""

    def __init__(self, folder: Path) -> None:
        self.bin, self._log, self._hooks = folder / "bin", folder / "calls", folder / "hooks"
        for place in (self.bin, self._hooks):
            place.mkdir(parents=True)
        for name in COMMANDS:
            real = shutil.which(name, path=PATH)
            assert real is not None
            values = {"name": name, "log": self._log, "hooks": self._hooks, "real": real}
            quoted = {key: shlex.quote(str(value)) for key, value in values.items()}
            path = self.bin / name
            path.write_text(_SCRIPT.format(**quoted))
            path.chmod(0o755)

    def calls(self) -> list[Call]:
        """Return all calls until now, in order."""
        if not self._log.exists():
            return []
        lines = (line.split(" ", 2) for line in self._log.read_text().splitlines())
        return [Call(float(line[0]), line[1], line[2]) for line in lines]

    def counted(self) -> Counter[str]:
        return Counter(call.command for call in self.calls())

    def hook(self, command: str, when: str, script: str) -> None:
        """Let the next call of ``command`` run ``script``, once."""
        path = self._hooks / f"{command}.{when}"
        path.with_suffix(".new").write_text(script + "\n")
        path.with_suffix(".new").rename(path)

    def is_due(self, command: str, when: str) -> bool:
        """Return whether a hook has not been run yet."""
        return (self._hooks / f"{command}.{when}").exists()
