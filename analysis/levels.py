"""From when on a number counts, in claims, figures and pages alike."""

ALPHA = 0.05  # below which a p counts
LEVEL = 0.95  # of intervals
FEWEST_SEEDS = 3
"""For an interval to be drawn or a test to be told: two make a t interval of 12.7 standard errors."""
