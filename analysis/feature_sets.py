"""By which protocols, and from which features of the log, regimes are told apart; analysis, figures and pages read the
names here, so that figures and pages do not hang on the code that classifies."""

PUBLISHED = "published"  # one run with fixed windows, random folds
CLEAN = "clean"  # regimes at random times, whole runs left out
NO_CLAMP = "clean, self_clamp left out"  # the same without the regime that holds the state

BASIC = "loss, entropy, confidence"
STATE = "with state channels"
TIME = "progress alone"
RAW = "raw statistics with history"
BIAS = "with bias channels"
