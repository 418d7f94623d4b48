"""Arms drawn uniformly, where the constraints allow."""

import numpy as np

from scheduler.generation.sobol import BLOCK, SobolGenerator
from scheduler.generation.space import Points

_OWN = 0x72616E64
"""Keeps these draws apart from others of the same seed."""


class RandomGenerator(SobolGenerator):
    """Independent uniform points in the place of Sobol's; all else is the same.

    So an arm depends on the definition, its seed, the cursor and the arms to avoid, and narrow
    constraints or a nearly exhausted space are met by the same means.
    """

    def _draw(self, index: int) -> tuple[Points, list[bool]]:
        """Return block ``index`` of the sequence, on the grid, and which of it is feasible."""
        rng = np.random.default_rng([_OWN, self.seed, index])
        points = self.space.snap(rng.random((BLOCK, self.space.dimension)))
        return points, self.space.inside(points).tolist()
