"""What the model tells people: why an arm was proposed, and how far predictions can be trusted."""
