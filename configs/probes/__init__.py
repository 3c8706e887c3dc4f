"""The fields of each probe, in a file of its name."""
