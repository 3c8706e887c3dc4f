"""Finished runs -> tidy tables. One file a question; nothing here trains, plots or loads torch."""
