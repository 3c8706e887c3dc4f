"""A run on disk and in memory: its folder, its state at a step, what is measured with its weights as they are."""
