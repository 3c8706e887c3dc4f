"""What all of a study keeps to: from when on a number counts, and which tables are too long to be committed. Loads nothing: a
study with nothing to do reads it."""

ALPHA = 0.05  # below which a p counts
LEVEL = 0.95  # of intervals
FEWEST_SEEDS = 3  # for an interval to be drawn or a test told: two make a t interval of 12.7 standard errors
OF_STEPS = (
    "metrics",
    "state_path",
)  # tables with a row a step of each run: not committed, README's findings do without
