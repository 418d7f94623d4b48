"""Space-filling arms: a scrambled Sobol sequence that respects the constraints."""

import functools

import numpy as np
from scipy.stats.qmc import Sobol

from scheduler.generation.polytope import Polytope, every_point
from scheduler.generation.protocol import GenerationReply, GenerationRequest, Proposal
from scheduler.generation.space import Points, Space
from scheduler.model.base import Value

BLOCK = 256
"""Points drawn at a time: a power of two, so that every block is balanced."""
PATIENCE = 16 * BLOCK
"""Points of the sequence looked at for one arm before it is made another way."""
TRIES = 64
"""Points drawn inside the constraints before all that they admit is taken to be used."""
FEW = 50_000
"""A space with no more points than this is listed where one block has no new arm."""

Arm = dict[str, Value]
Key = tuple[Value, ...]


class SobolGenerator:
    """The arms of one experiment, in order; stays in memory between requests.

    An arm depends on the definition, its seed, the cursor and the arms to avoid, on nothing
    else: two short requests give what one long request gives.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.seed = space.definition.generation_strategy.seed
        self._patience = BLOCK if space.size <= FEW else PATIENCE
        self._engine = Sobol(d=max(space.dimension, 1), scramble=True, rng=self.seed)
        self._block = functools.lru_cache(maxsize=2 * PATIENCE // BLOCK)(self._draw)

    def generate(self, request: GenerationRequest) -> GenerationReply:
        """Return arms that are new and admitted; fewer only where none are left."""
        used = self.space.keys(request.seen, request.pending)
        cursor, arms = request.cursor, []
        for _ in range(request.count):
            arm, cursor = self._next(cursor, used)
            if arm is None:
                break
            used.add(self.space.key(arm))
            arms.append(Proposal(arm))
        return request.reply(arms, cursor, exhausted=len(arms) < request.count)

    def _next(self, cursor: int, used: set[Key]) -> tuple[Arm | None, int]:
        """Return the next new arm and the cursor behind it."""
        for position in range(cursor, cursor + self._patience):
            block, inside = self._block(position // BLOCK)
            if inside[position % BLOCK]:
                arm = self._new(block[position % BLOCK], used)
                if arm is not None:
                    return arm, position + 1
        return self._otherwise(cursor, used), cursor + self._patience

    def _new(self, point: Points, used: set[Key]) -> Arm | None:
        """Return the arm at ``point``, or None where it is used or not admitted."""
        values = self.space.values(point)
        return None if self.space.key(values) in used else self.space.admitted(values)

    def _draw(self, index: int) -> tuple[Points, list[bool]]:
        """Return block ``index`` of the sequence, on the grid, and which of it is feasible."""
        if self._engine.num_generated != index * BLOCK:
            self._engine.reset()
            if index:
                self._engine.fast_forward(index * BLOCK)
        points = self.space.snap(self._engine.random(BLOCK)[:, : self.space.dimension])
        return points, self.space.inside(points).tolist()

    def _otherwise(self, cursor: int, used: set[Key]) -> Arm | None:
        """Return a new arm where the sequence has none within reach; None where all are used."""
        rng = np.random.default_rng([self.seed, cursor])
        if self.space.size <= FEW:
            return self._unused(rng, used)
        # Constraints can leave a few points of a space that has infinitely many.
        for _ in range(TRIES):
            point = self._polytope.draw(rng)
            arm = None if point is None else self._new(point, used)
            if arm is not None or point is None:
                return arm
        return None

    def _unused(self, rng: np.random.Generator, used: set[Key]) -> Arm | None:
        left = [point for point, key in self._listed if key not in used]
        order = rng.permutation(len(left))
        return next(filter(None, (self._new(left[i], used) for i in order)), None)

    @functools.cached_property
    def _listed(self) -> list[tuple[Points, Key]]:
        """Every feasible point of a small space, with its key."""
        points = every_point(self.space)
        return [(point, self.space.key(self.space.values(point))) for point in points]

    @functools.cached_property
    def _polytope(self) -> Polytope:
        return Polytope(self.space)


def grouped(arms: list[Proposal], size: int) -> tuple[tuple[Proposal, ...], ...]:
    """Return ``arms`` as trials of ``size``; the last one may be smaller."""
    return tuple(tuple(arms[i : i + size]) for i in range(0, len(arms), size))
