"""What other tools have written about an experiment, as a definition and a history of ours.

One file a tool: each turns text or rows into a :class:`~scheduler.translate.result.Translation`.
"""
