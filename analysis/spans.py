"""Which spans of steps, and which disturbance, tables speak of; the figures and pages drawn from them read it here, so that
they do not hang on the code that follows runs."""

ONSET_BIN = 5  # steps in a bin around a disturbance's onset, in the suite on memory
WINDOW_BIN = 10  # steps in a bin of an ambiguous window
DISTURBANCE = "bewilderment"  # the regime by which memories are compared
WHOLE = "whole"
LATE = "late"  # a window's second half, when nothing is left of the disturbance in a state without memory

STATISTICS, STATE, GATE, RECALL = "window statistics", "state", "gate and share", "recall"
"""What an ambiguous window is read from."""
