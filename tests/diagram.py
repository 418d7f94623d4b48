"""Writes the state diagram in scheduler/README.md from the table of transitions (`make fix`)."""

import re
from pathlib import Path

from scheduler.model.trial import TRANSITIONS, TrialStatus

README = Path(__file__).parent.parent / "scheduler" / "README.md"
BLOCK = re.compile(r"```mermaid\n.*?```", re.DOTALL)


def diagram() -> str:
    """Return the table as a mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> CANDIDATE"]
    for status in TrialStatus:
        lines += [
            f"    {status} --> {after}" for after in TrialStatus if after in TRANSITIONS[status]
        ]
    lines += [f"    {status} --> [*]" for status in TrialStatus if not TRANSITIONS[status]]
    return "```mermaid\n" + "\n".join(lines) + "\n```"


def main() -> None:
    README.write_text(BLOCK.sub(lambda _: diagram(), README.read_text()))


if __name__ == "__main__":
    main()
