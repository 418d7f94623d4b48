"""Quality and latency of generation, side by side with Ax and Optuna.

Run from the folder above: ``python -m quality.ours``, ``quality.report`` and so on. What the peers
need (problems, the simulated workers, the files of results) imports numpy and scipy, no schedd.
"""
