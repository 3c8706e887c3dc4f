"""Two corpora side by side: what each regime does to loss, entropy and the self-state."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from experiments.kit import style
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.panels import by_seed
from experiments.kit.style import Look
from experiments.kit.tables import RUN, NothingToDraw
from experiments.kit.words import listed
from plots.figure import Figure, Tables
from plots.perturbation import beyond, beyond_calm, change_axis

DELTAS, RUNS = "regime_deltas", "runs"
FIRST_DELTAS, FIRST_RUNS = (
    "../shakespeare/regime_deltas",
    "../shakespeare/runs",
)  # of the first corpus's suite
METRICS = ("loss", "entropy", "state_drift", "state_effect")
IN_NATS = ("loss", "entropy")
FIRST, SECOND = Look("", style.BLUE), Look("", style.VERMILLION, "-", "s", filled=False)
COLUMNS: dict[str, tuple[str, ...]] = {
    DELTAS: (*RUN, "regime", "metric", "delta"),
    RUNS: (*RUN, "heldout_loss", "corpus"),
}
COLUMNS |= {FIRST_DELTAS: COLUMNS[DELTAS], FIRST_RUNS: COLUMNS[RUNS]}


def bits_a_byte(runs: pd.DataFrame) -> float:
    """What nats a token are multiplied by to give bits a byte of a suite's text; NaN where runs.csv does not say."""
    if "heldout_bpb" not in runs:
        return float("nan")
    share: pd.Series = runs["heldout_bpb"] / runs["heldout_loss"]
    return float(share.mean())


def generalization(tables: Tables, note: str) -> Drawing:
    """Change of each channel by regime beyond the calm run, on both corpora: a point a seed, means and intervals."""
    both = [(tables[FIRST_DELTAS], tables[FIRST_RUNS], FIRST), (tables[DELTAS], tables[RUNS], SECOND)]
    have = [[regime for regime in style.REGIMES if len(beyond(one, regime, "loss"))] for one, _, _ in both]
    regimes = [regime for regime in style.REGIMES if any(regime in some for some in have)]
    if not regimes:
        raise NothingToDraw("regime_deltas.csv has no seed with the conditions self and self_calm")
    scales = [bits_a_byte(runs) for _, runs, _ in both]
    bits = bool(np.isfinite(scales).all())
    made = style.figure(style.WIDE, 5.2)
    panels = made.subplots(2, 2, sharey=True).ravel()
    for axes, metric in zip(panels, METRICS, strict=True):
        drawn = []
        for (deltas, _, look), scale, shift in zip(both, scales, (-0.17, 0.17), strict=True):
            for y, regime in enumerate(regimes):
                values = beyond(deltas, regime, metric)
                values = values * scale if bits and metric in IN_NATS else values
                drawn.append(values)
                by_seed(axes, y + shift, values, look, upright=False, bar=0.13, ms=3, mew=0.7)
        channel = style.CHANNELS[metric]
        unit = f"{channel.name} (bits a byte)" if bits and metric in IN_NATS else channel.label
        axes.set_xlabel(f"Δ {unit}")
        axes.axvline(0, c="k", lw=0.6, zorder=1)
        change_axis(axes, pd.concat(drawn))
        for y in range(1, len(regimes), 2):
            axes.axhspan(y - 0.5, y + 0.5, color="#f3f3f3", lw=0, zorder=-1)
    panels[0].set_yticks(range(len(regimes)), regimes)
    panels[0].set_ylim(len(regimes) - 0.5, -0.5)
    names = [corpus_of(runs) for _, runs, _ in both]
    handles = [
        Line2D([], [], ls="", marker=look.marker, c=look.colour, mfc=look.face, ms=4) for *_, look in both
    ]
    labels = [
        f"{name} (n = {deltas['seed'].nunique()})" for name, (deltas, _, _) in zip(names, both, strict=True)
    ]
    caption = (
        "Mean in the window minus mean before it, self minus self_calm at the same steps, paired by seed. Every point a seed; bars: "
        f"mean and, from three seeds on, 95 % t interval. {'Loss and entropy in bits a byte, so that tokens of different length compare. ' if bits else ''}Axes are linear within the dotted lines where there are any and logarithmic outside. "
        "Corrupted targets are drawn from the whole vocabulary, so the size of bewilderment depends on the tokenizer. Title: clear is an interval that leaves zero out, "
        f"not corrected for {len(regimes) * len(METRICS)} changes."
    )
    return style.finish(made, _title(both, regimes, names), caption, note, (handles, labels), 2)


def corpus_of(runs: pd.DataFrame) -> str:
    """The corpus of a suite's runs and its tokenizer, where runs.csv says it: `openwebtext (bpe:1024)`."""
    names = sorted(set(runs["corpus"].astype(str)))
    kinds = sorted(set(runs["tokenizer"].astype(str))) if "tokenizer" in runs else []
    return f"{', '.join(names)} ({', '.join(kinds)})" if kinds else ", ".join(names) or "unknown corpus"


def _title(both: list[tuple[pd.DataFrame, pd.DataFrame, Look]], regimes: list[str], names: list[str]) -> str:
    """How many changes are clear on either corpus, and how many of those agree in sign."""
    pairs = {
        f"{style.CHANNELS[metric].name} in {regime}": [
            beyond_calm(deltas, regime, metric) for deltas, *_ in both
        ]
        for regime in regimes
        for metric in METRICS
    }
    known = {name: pair for name, pair in pairs.items() if min(value.n for value in pair) >= FEWEST_SEEDS}
    if not known:
        return f"What each regime does on {names[0]} and on {names[1]} (too few seeds to test)"
    first = {name: pair for name, pair in known.items() if pair[0].clear}
    same = sum(pair[1].clear and pair[0].mean * pair[1].mean > 0 for pair in first.values())
    opposite = [name for name, pair in first.items() if pair[1].clear and pair[0].mean * pair[1].mean < 0]
    return (
        f"Of {len(first)} changes that are clear on {names[0]}, {same} are clear with the same sign on {names[1]}, "
        f"{len(opposite)} with the opposite one{f' ({listed(opposite)})' if 0 < len(opposite) < 4 else ''}"
    )


FIGURES: tuple[Figure, ...] = (
    Figure(
        "openwebtext.png",
        generalization,
        (DELTAS, RUNS, FIRST_DELTAS, FIRST_RUNS),
        "What each regime does to loss, entropy, drift and effect on both corpora, beyond the calm run, seed by seed.",
        "generalization",
    ),
)
