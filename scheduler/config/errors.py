"""The one exception of this package: everything that is wrong with a file, each with its place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in a file, said in one sentence."""

    message: str
    file: str
    line: int | None = None
    """From 1; ``None`` where the file as a whole is meant."""
    column: int | None = None

    def __str__(self) -> str:
        """Return ``file:line:column: message``."""
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        return f"{place}: {self.message}"


class ConfigError(Exception):
    """A file that cannot be used; its text has one line for each mistake, in their order."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


def mistake(message: str, file: str, line: int | None = None, column: int = 1) -> ConfigError:
    """Return the error of a file with a single mistake."""
    return ConfigError(Mistake(message, file, line, None if line is None else column))
