"""From when on a number counts, in claims, figures and pages alike. Loads nothing: a study with nothing to do reads it."""

ALPHA = 0.05  # below which a p counts
LEVEL = 0.95  # of intervals
FEWEST_SEEDS = 3  # for an interval to be drawn or a test told: two make a t interval of 12.7 standard errors
