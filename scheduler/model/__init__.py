"""The nouns: search space, objectives, arms and trials, the transition table. Pure."""
