"""How often a generator that fails is asked again. Pure but for what it remembers."""

MOST = 64
"""Requests passed over at most before a generator is tried again."""


class Trust:
    """Remembers which generators failed lately, so that slots do not wait for them each time.

    Each failure in a row doubles how many requests go to Sobol straight away before the next try;
    one good answer and all is forgotten.
    """

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._passes: dict[str, int] = {}
        self._why: dict[str, str] = {}

    def excuse(self, generator: str) -> str:
        """Return why ``generator`` is passed over this time; empty where it is to be asked."""
        left = self._passes.get(generator, 0)
        if not left:
            return ""
        self._passes[generator] = left - 1
        return self._why[generator]

    def failed(self, generator: str, why: str) -> None:
        """Note that it hung, died or made no sense."""
        row = self._rows[generator] = self._rows.get(generator, 0) + 1
        self._passes[generator] = min(MOST, 2 ** (row - 1)) - 1
        self._why[generator] = why

    def answered(self, generator: str) -> None:
        """Note that it did what was asked of it, be it to say that it cannot."""
        self._rows.pop(generator, None)
