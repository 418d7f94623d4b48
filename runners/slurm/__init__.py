"""The runner ``slurm``: jobs of a Slurm cluster whose nodes see the tasks' folders."""

from runners.slurm.options import SlurmOptions
from runners.slurm.runner import SlurmRunner

__all__ = ["SlurmOptions", "SlurmRunner"]
