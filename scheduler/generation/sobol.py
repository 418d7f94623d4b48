"""Space-filling arms: a scrambled Sobol sequence that respects the constraints."""

import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np
from scipy.stats.qmc import Sobol

from scheduler.generation.polytope import Polytope, every_point
from scheduler.generation.protocol import GenerationReply, GenerationRequest, Proposal
from scheduler.generation.space import Key, Points, Space
from scheduler.model.base import Value

BLOCK = 256
"""Points drawn at a time: a power of two, so that every block is balanced."""
PATIENCE = 16 * BLOCK
"""Points of the sequence looked at for one arm before it is made another way."""
TRIES = 64
"""Points drawn inside the constraints before all that they admit is taken to be used."""
FEW = 50_000
"""A space with no more feasible points than this is listed where no new arm is met by chance."""
POOL = 32
"""Points drawn at a time inside constraints that the sequence does not meet."""
CHOICES = 8
"""Points of which the one farthest from all before it comes next (Mitchell 1991)."""

Arm = dict[str, Value]


class SobolGenerator:
    """The arms of one experiment, in order; stays in memory between requests.

    An arm depends on the definition, its seed, the cursor and the arms to avoid, on nothing
    else: two short requests give what one long request gives.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.seed = space.definition.generation_strategy.seed
        self._engine = Sobol(d=max(space.dimension, 1), scramble=True, rng=self.seed)
        self._block = functools.lru_cache(maxsize=2 * PATIENCE // BLOCK)(self._draw)
        self._drawn = functools.lru_cache(maxsize=2)(self._pool)

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
        if self._sparse:
            patience, points = TRIES, self._drawn_from(cursor)
        else:
            patience = BLOCK if self.space.size <= FEW else PATIENCE
            points = self._sequence_from(cursor)
        for offset, point in enumerate(itertools.islice(points, patience)):
            arm = None if point is None else self._new(point, used)
            if arm is not None:
                return arm, cursor + offset + 1
        return self._otherwise(cursor, used), cursor + patience

    def _sequence_from(self, cursor: int) -> Iterator[Points | None]:
        """Yield the points of the sequence; None for one that is not feasible."""
        for position in itertools.count(cursor):
            block, inside = self._block(position // BLOCK)
            yield block[position % BLOCK] if inside[position % BLOCK] else None

    def _drawn_from(self, cursor: int) -> Iterator[Points | None]:
        """Yield points drawn inside the constraints; None where there is none."""
        for position in itertools.count(cursor):
            pool = self._drawn(position // POOL)
            yield pool[position % POOL] if position % POOL < len(pool) else None

    def _new(self, point: Points, used: set[Key]) -> Arm | None:
        """Return the arm at ``point``, or None where it is used or not admitted."""
        values = self.space.values(point)
        return None if self.space.key(values) in used else self.space.admitted(values)

    @functools.cached_property
    def _sparse(self) -> bool:
        """Whether the sequence may be looked at in vain."""
        blocks = range(PATIENCE // BLOCK if self.space.size > FEW else 1)
        return not any(any(self._block(index)[1]) for index in blocks)

    def _pool(self, index: int) -> Points:
        """Return pool ``index``: uniform points, in an order in which the first are far apart."""
        rng = np.random.default_rng([self.seed, index])
        points = self._polytope.draws(rng, POOL)
        if not len(points):
            return points
        spread = points / np.maximum(points.std(axis=0), 1e-300)
        left = list(range(len(points)))
        gaps = np.full(len(points), np.inf)
        order: list[int] = []
        while left:
            some = rng.permutation(left)[:CHOICES]
            order.append(int(some[np.argmax(gaps[some])]))
            left.remove(order[-1])
            gaps = np.minimum(gaps, np.linalg.norm(spread - spread[order[-1]], axis=1))
        return points[order]

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
        if self._listed is not None:
            return self._unused(rng, self._listed, used)
        drawn = self._polytope.draws(rng, TRIES)
        return next(filter(None, (self._new(point, used) for point in drawn)), None)

    def _unused(
        self, rng: np.random.Generator, listed: list[tuple[Points, Key]], used: set[Key]
    ) -> Arm | None:
        left = [point for point, key in listed if key not in used]
        order = rng.permutation(len(left))
        return next(filter(None, (self._new(left[i], used) for i in order)), None)

    @functools.cached_property
    def _listed(self) -> list[tuple[Points, Key]] | None:
        """Every feasible point, with its key; None where there are too many."""
        points = every_point(self.space, FEW) if math.isfinite(self.space.size) else None
        if points is None:
            return None
        return [(point, self.space.key(self.space.values(point))) for point in points]

    @functools.cached_property
    def _polytope(self) -> Polytope:
        return Polytope(self.space)
