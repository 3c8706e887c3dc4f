"""The page on the second corpus: losses, regimes and the frozen-weight test, beside Tiny Shakespeare's."""

from dataclasses import replace
from math import log

import pandas as pd

from experiments.kit import published
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.placebos import TESTS, View, effect_table, further
from experiments.kit.stats import estimate, over_seeds, paired, per_seed
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    Finding,
    all_of,
    interval,
    listed,
    plural,
    side,
    signed,
    table,
)
from plots.generalization import METRICS, corpus_of
from plots.perturbation import beyond_calm
from reports.parts import Section, Tables
from reports.shakespeare import CHANNELS, PAIRS, Deltas, fingerprints, state_marks

TITLE = "Generalization: does it come back on a second corpus?"
FILE = "openwebtext.md"
SUITE = "generalization"
FIRST = "shakespeare"  # the suite of the first corpus
WANTED = "openwebtext"
TESTED = "self_calm"
COLUMNS: dict[str, tuple[str, ...]] = {"runs": ("heldout_loss", "heldout_bpb", "corpus", "tokenizer")}


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections. `figures` is the folder of figures as seen from the page."""
    first = tables.of(FIRST)
    return [losses(tables, first), regimes(tables, first, figures), steering(tables, first)]


def named(tables: Tables) -> str:
    """A suite's corpus and tokenizer; the suite's own name where nothing has run."""
    runs = tables.rows("runs")
    return f"`{tables.suite}`" if runs.empty else corpus_of(runs)


def stands_in(runs: pd.DataFrame) -> str:
    """What to say where another corpus stands in for the wanted one; "" where it does not."""
    others = sorted(set(runs["corpus"].astype(str)) - {WANTED})
    if not others:
        return ""
    return (
        f"**OpenWebText was not at hand: {listed([f'`{name}`' for name in others])} stands in for it, the embedded corpus, which is "
        "made from Python's own documentation. Nothing here was measured on web text.**"
    )


def losses(tables: Tables, first: Tables) -> Section:
    """Held-out loss of every condition in nats a token and in bits a byte, on both corpora."""
    runs, before = tables.rows("runs"), first.rows("runs")
    here, there = named(tables), named(first)
    rows, pairs, verdicts, parts = [], [], [], []
    for name in dict.fromkeys(runs["condition"]):
        cells = [
            interval(over_seeds(some[some["condition"] == name], column), sign=False)
            for some in (runs, before)
            for column in ("heldout_loss", "heldout_bpb")
        ]
        rows.append([f"`{name}`", *cells, str(int((runs["condition"] == name).sum()))])
    for one, other in PAIRS:
        gains = [
            paired(*(per_seed(some[some["condition"] == name], column) for name in (one, other)))
            for some in (runs, before)
            for column in ("heldout_loss", "heldout_bpb")
        ]
        if not gains[0].n:
            continue
        pairs.append([f"`{one}` − `{other}`", *(interval(gain, 4) for gain in gains), str(gains[0].n)])
        verdicts.append(side(gains[0], -1))
        parts.append(f"{interval(gains[0], 4)} nats for `{one}` − `{other}`")
    head = [f"{here}: nats a token", "bits a byte", f"{there}: nats a token", "bits a byte", "n"]
    body = [stands_in(runs)] if len(runs) and stands_in(runs) else []
    if rows:
        body += [
            _sizes(runs, here),
            table(["held-out loss at the last step", *head], rows),
            *(["Of one seed, both runs start from the same weights and see the same batches, so:",
               table(["paired difference", *head], pairs)] if pairs else []),
        ]  # fmt: skip
    return Section(
        "What does each condition lose on the second corpus?",
        "The core conditions again, on another text with another tokenizer. The published study points to "
        "such a test on OpenWebText and gives no number of it.",
        body or [MISSING],
        "A token of one tokenizer is not a token of another, so nats a token don't compare between corpora; bits a byte do, as far "
        "as two texts can be compared at all. The same number of steps goes less far through a larger text and a larger "
        "vocabulary.",
        [
            Finding(
                "On the second corpus, too, the model predicts held-out text better with a self-state.",
                all_of(verdicts),
                f"Held-out loss a token: {listed(parts)}; n = {pairs[0][-1]}."
                if parts
                else "No pair of conditions is finished.",
            )
        ],
    )


def _sizes(runs: pd.DataFrame, name: str) -> str:
    """How many bytes a token of the corpus stands for, from both losses."""
    share = (runs["heldout_loss"] / log(2) / runs["heldout_bpb"]).mean()
    text = f"{name}: {plural(len(runs), 'run')}"
    return f"{text}, {share:.2f} bytes a token of the held-out text." if share == share else f"{text}."


def regimes(tables: Tables, first: Tables, figures: str) -> Section:
    """What each regime does on both corpora, beside the published numbers."""
    both = [Deltas(tables), Deltas(first)]
    here, there = named(tables), named(first)
    rows = []
    for regime, expected in published.REGIME_DELTAS.items():
        for metric, digits in CHANNELS.items():
            mine = [deltas.of("self", regime, metric) for deltas in both]
            calm = [deltas.of("self_calm", regime, metric) for deltas in both]
            if mine[0].empty:
                continue
            rows.append(
                [
                    f"`{regime}`, {metric}",
                    signed(expected[metric], min(digits, 3)),
                    *(interval(estimate(values), digits) for values in mine),
                    *(interval(paired(*pair), digits) for pair in zip(mine, calm, strict=True)),
                    f"{mine[0].count()}, {mine[1].count()}",
                ]
            )
    head = ["regime, channel", "published Δ", f"`self` Δ, {here}", f"`self` Δ, {there}", f"`self` − `self_calm`, {here}",
            f"`self` − `self_calm`, {there}", "n"]  # fmt: skip
    body = [table(head, rows) if rows else MISSING]
    if rows:
        body += [
            "Δ: mean during the window minus mean before it, in nats a token (loss, entropy), L2 a step (state_drift) and mean "
            "|Δ logit| (state_effect). Published: one run on Tiny Shakespeare.",
            f"![Both corpora side by side]({figures}/openwebtext.png)",
        ]
    return Section(
        "Do regimes leave the same marks?",
        "The same five regimes at the same steps, on both corpora, beyond the calm run of the same seed.",
        body,
        "Sizes are not expected to agree: corrupted targets are drawn from the whole vocabulary, and a masked token hides more of "
        "the text where tokens are longer. Signs are what could come back.",
        [_there(fingerprints(state_marks(both[0]))), _signs(tables, first)],
    )


def _signs(tables: Tables, first: Tables) -> Finding:
    """Whether changes that are clear on the first corpus are clear on the second, with the same sign."""
    claim = "What regimes do on the first corpus comes back on the second with the same sign."
    deltas = [some.rows("regime_deltas") for some in (first, tables)]
    pairs = {
        (regime, metric): [beyond_calm(one, regime, metric) for one in deltas]
        for regime in published.REGIME_DELTAS
        for metric in METRICS
    }
    known = {place: pair for place, pair in pairs.items() if min(value.n for value in pair)}
    if not known:
        return Finding(claim, ABSENT, f"It needs `self` and `{TESTED}` on both corpora.")
    if min(value.n for pair in known.values() for value in pair) < FEWEST_SEEDS:
        return Finding(claim, OPEN, "Too few seeds to test.")
    clear = {place: pair for place, pair in known.items() if pair[0].clear}
    if not clear:
        return Finding(claim, OPEN, f"None of {len(known)} changes is clear on the first corpus.")
    same = [place for place, pair in clear.items() if pair[1].clear and pair[0].mean * pair[1].mean > 0]
    opposite = [place for place, pair in clear.items() if pair[1].clear and pair[0].mean * pair[1].mean < 0]
    if len(same) == len(clear):
        verdict = CLEAR
    else:
        verdict = NOT_CLEAR if len(opposite) >= len(same) else OPEN
    unlike = [f"{metric} in {regime}" for regime, metric in clear if (regime, metric) not in same]
    return Finding(
        claim,
        verdict,
        f"Of {len(clear)} changes beyond the calm run whose interval leaves zero out on {named(first)}, {len(same)} do with the same "
        f"sign on {named(tables)}, {len(opposite)} with the opposite one. Not the same: {listed(unlike)}.",
    )


def steering(tables: Tables, first: Tables) -> Section:
    """The frozen-weight test on both corpora, at every set of weights."""
    here = View(tables, TESTED, named(tables))
    body = effect_table(here, list(TESTS), View(first, TESTED, named(first))) if _tested(tables) else []
    return Section(
        f"Does the state steer the model there, too? (`{TESTED}`)",
        "The frozen-weight test of both sets of weights kept, beside Tiny Shakespeare's and beside placebos selected in the same "
        "way.",
        body or [MISSING],
        "Effects are entropies over vocabularies of different size, so the two corpora's nats don't compare, nor do distances from "
        "placebos in nats; on which side of its own placebos each lies does.",
        [_there(further(here, *test)) for test in TESTS],
    )


def _there(finding: Finding) -> Finding:
    """The finding with a claim that says which corpus it is about, since README lists it without its page."""
    claim = finding.claim
    return replace(
        finding,
        claim=f"On the second corpus {claim if claim.startswith('`') else claim[0].lower() + claim[1:]}",
    )


def _tested(tables: Tables) -> bool:
    return not tables.rows("frozen_effects_summary", condition=TESTED).empty
