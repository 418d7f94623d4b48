"""Arms from a model: what is measured, what it may mean, what an arm is worth, where to look."""
