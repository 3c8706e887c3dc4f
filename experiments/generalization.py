"""The core conditions again, on a second corpus with another tokenizer: what training.py, perturbation.py and the frozen-weight
test found on the first, side by side."""

from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.kit import marks, published, style, words
from experiments.kit import panels as draw
from experiments.kit.changes import SHOWN, agrees, beyond, change, marks_the_state
from experiments.kit.experiment import Experiment
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.pages import shown
from experiments.kit.placebos import TESTS, View, effect_table, further
from experiments.kit.stats import estimate
from experiments.kit.style import CHANNELS, REGIMES, TWINS, Look
from experiments.kit.tables import Grid, Tables
from experiments.kit.words import ABSENT, CLEAR, NOT_CLEAR, OPEN, Finding, interval, listed, plural, signed

FIRST = "shakespeare"  # the suite of the first corpus
WANTED, TESTED = "openwebtext", "self_calm"
LOOKS = {
    FIRST: Look("the first corpus", style.BLUE),
    "generalization": Look("the second corpus", style.VERMILLION, "-", "s", filled=False),
}
IN_NATS = ("loss", "entropy")
LOSSES = ("heldout_loss", "heldout_bpb")


def corpus_of(tables: Tables) -> str:
    """A suite's corpus and tokenizer, `openwebtext (bpe:1024)`; the suite's own name where nothing has run."""
    runs = tables.rows("runs")
    names, kinds = (", ".join(sorted(set(runs[column].astype(str)))) for column in ("corpus", "tokenizer"))
    return f"{names} ({kinds})" if len(runs) else f"`{tables.suite}`"


def bits_a_byte(tables: Tables) -> float:
    """What nats a token are multiplied by to give bits a byte of a suite's text."""
    runs = tables.rows("runs")
    return float((runs["heldout_bpb"] / runs["heldout_loss"]).mean())


def findings(tables: Tables) -> dict[str, Finding]:
    """What comes back on the second corpus."""
    gains = tables.by_condition("runs").twins(TWINS, "heldout_loss")
    said = listed([f"{interval(gain, 4)} nats for {name}" for name, gain in gains.items()])
    n = next((gain.n for gain in gains.values()), 0)
    view = View(tables, TESTED)
    return {
        "gains": Finding(
            "On the second corpus, too, the model predicts held-out text better with a self-state.",
            words.all_of(words.side(gain, -1) for gain in gains.values()),
            f"Held-out loss a token: {said}; n = {n}." if gains else "No pair of conditions is finished.",
        ),
        "marks": _there(marks_the_state(tables)),
        "signs": _signs(tables),
        **{"steers_" + "_".join(test): _there(further(view, *test)) for test in TESTS},
    }


def _there(finding: Finding) -> Finding:
    """The finding with a claim that says which corpus it is about, since README lists it without its page."""
    claim = finding.claim
    return replace(finding, claim=f"On the second corpus {claim[0].lower()}{claim[1:]}")


def _signs(tables: Tables) -> Finding:
    """Whether changes that are clear on the first corpus are clear on the second, with the same sign."""
    claim = "What regimes do on the first corpus comes back on the second with the same sign."
    both = {
        place: [estimate(beyond(suite, *place)) for suite in (tables.of(FIRST), tables)]
        for place in product(published.REGIME_DELTAS, SHOWN)
    }
    fewest = [n for pair in both.values() if (n := min(value.n for value in pair))]
    if not fewest:
        return Finding(claim, ABSENT, f"It needs `self` and `{TESTED}` on both corpora.")
    if min(fewest) < FEWEST_SEEDS:
        return Finding(claim, OPEN, "Too few seeds to test.")
    signs = {place: agrees(first.mean, second) for place, (first, second) in both.items() if first.clear}
    if not signs:
        return Finding(claim, OPEN, f"None of {len(fewest)} changes is clear on the first corpus.")
    same, opposite = ([*signs.values()].count(sign) for sign in (1, -1))
    verdict = CLEAR if same == len(signs) else NOT_CLEAR if opposite >= same else OPEN
    unlike = listed([f"{metric} in {regime}" for (regime, metric), sign in signs.items() if sign != 1])
    return Finding(
        claim, verdict,
        f"Of {len(signs)} changes beyond the calm run whose interval leaves zero out on {corpus_of(tables.of(FIRST))}, {same} do with the "
        f"same sign on {corpus_of(tables)}, {opposite} with the opposite one. Not the same: {unlike}.",
    )  # fmt: skip


def stand_in(tables: Tables) -> str:
    """What to say where another corpus stands in for the wanted one."""
    others = sorted({*tables.rows("runs")["corpus"].astype(str)} - {WANTED})
    return (
        f"**OpenWebText was not at hand: {listed([f'`{name}`' for name in others])} stands in for it, the embedded corpus, which is made "
        "from Python's own documentation. Nothing here was measured on web text.**"
    ) * bool(others)


def size(tables: Tables) -> str:
    """How many runs there are, and how many bytes a token of the corpus stands for."""
    runs = tables.rows("runs")
    bytes_a_token = 1 / np.log(2) / bits_a_byte(tables)
    said = f"{corpus_of(tables)}: {plural(len(runs), 'run')}, {bytes_a_token:.2f} bytes a token of the held-out text."
    return said * bool(len(runs))


def losses_table(tables: Tables, twins: bool = False) -> str:
    """Held-out loss in nats a token and in bits a byte, on both corpora: a row a condition, or a pair of them."""
    suites = (tables, tables.of(FIRST))
    by_suite = [suite.by_condition("runs") for suite in suites]
    if twins:
        columns = [at.twins(TWINS, column) for at in by_suite for column in LOSSES]
        first, kind = "paired difference", "±4"
    else:
        columns = [at.values(at.conditions, column) for at in by_suite for column in LOSSES]
        first, kind = "held-out loss at the last step", "3"
    rows = [
        [
            name,
            *(shown(column[name], kind) if name in column else words.DASH for column in columns),
            str(value.n),
        ]
        for name, value in columns[0].items()
    ]
    head = [
        first,
        *(said for suite in suites for said in (f"{corpus_of(suite)}: nats a token", "bits a byte")),
        "n",
    ]
    return words.table(head, rows) if rows else words.MISSING


def deltas_table(tables: Tables) -> str:
    """What each regime does on both corpora, beside the published numbers."""
    suites = (tables, tables.of(FIRST))
    rows = []
    for (regime, expected), (metric, digits) in product(published.REGIME_DELTAS.items(), SHOWN.items()):
        own = [change(suite, "self", regime, metric) for suite in suites]
        values = [*own, *(beyond(suite, regime, metric) for suite in suites)]
        if len(own[0]):
            rows.append([
                f"`{regime}`, {metric}", signed(expected[metric], min(digits, 3)),
                *(interval(estimate(one), digits) for one in values), f"{len(own[0])}, {len(own[1])}",
            ])  # fmt: skip
    whose = [
        f"{what}, {corpus_of(suite)}" for what in ("`self` Δ", "`self` − `self_calm`") for suite in suites
    ]
    return words.table(["regime, channel", "published Δ", *whose, "n"], rows) if rows else words.MISSING


def steering_table(tables: Tables) -> str:
    """Effect sizes of the frozen-weight test beside placebos, on both corpora."""
    here, first = (View(suite, TESTED, corpus_of(suite)) for suite in (tables, tables.of(FIRST)))
    tested = len(tables.rows("frozen_effects_summary", condition=TESTED))
    return effect_table(list(TESTS), here, first) if tested else words.MISSING


def on_both(metric: str) -> draw.Panel:
    """The change of a metric by regime beyond the calm run, on both corpora; losses in bits a byte."""

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        drawn: dict[str, pd.Series[float]] = {}
        for shift, (name, look) in zip((-0.17, 0.17), looks.items(), strict=True):
            suite = tables.of(name)
            for place, regime in enumerate(REGIMES):
                values = beyond(suite, regime, metric) * (bits_a_byte(suite) if metric in IN_NATS else 1)
                marks.by_seed(axes, place + shift, values, look, upright=False, bar=0.13, ms=3)
                drawn |= {f"{name} {regime}": values} if len(values) else {}
        if drawn:
            marks.change_axis(axes, pd.concat(drawn))
        marks.categories(axes, [*REGIMES], upright=False)
        marks.level(axes, upright=False)
        channel = CHANNELS[metric]
        axes.set_xlabel(f"Δ {f'{channel.name} (bits a byte)' if metric in IN_NATS else channel.label}")
        return [name for name in looks if any(key.startswith(f"{name} ") for key in drawn)]

    return draw.Panel(("regime_deltas", "runs"), panel)


def caption(tables: Tables) -> str:
    """Whose seeds are drawn, and how they are to be read."""
    suites = (tables.of(FIRST), tables)
    whose = [f"{corpus_of(suite)}, n = {suite.rows('regime_deltas')['seed'].nunique()}" for suite in suites]
    return (
        f"First corpus: {whose[0]}; second: {whose[1]}. Mean in the window minus mean before it, self minus self_calm at the same steps, "
        "paired by seed. Every point a seed; bars: mean and, from three seeds on, 95 % t interval. Loss and entropy in bits a byte, so that "
        "tokens of different length compare. Axes are linear within the dotted lines where there are any and logarithmic outside. Corrupted "
        "targets are drawn from the whole vocabulary, so the size of bewilderment depends on the tokenizer. Title: by intervals that leave "
        "zero out, not corrected for their number."
    )


FIGURE = draw.sheet(
    "openwebtext.png", [on_both(metric) for metric in SHOWN], grid=(2, 2), height=5.2, looks=LOOKS, title=("signs",), caption=caption,
    marks="points", share_y=True,
    shows="What each regime does to loss, entropy, drift and effect on both corpora, beyond the calm run, seed by seed.",
)  # fmt: skip
GRIDS: dict[str, Grid] = {
    "stand_in": stand_in, "size": size, "losses": losses_table, "twins": partial(losses_table, twins=True), "deltas": deltas_table,
    "steering": steering_table,
}  # fmt: skip
EXPERIMENT = Experiment(
    "generalization", "Generalization: does it come back on a second corpus?", findings=findings, figures=(FIGURE,), grids=GRIDS,
    page="openwebtext.md",
)  # fmt: skip
