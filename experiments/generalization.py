"""The published suite on web text, side by side with Tiny Shakespeare's and with what was published of both."""

from functools import partial
from itertools import product

import pandas as pd
from matplotlib.axes import Axes

from experiments import swap
from experiments.kit import marks, pages, published, style, words
from experiments.kit import panels as draw
from experiments.kit.changes import SHOWN, agrees, changes
from experiments.kit.experiment import Experiment
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.pages import shown
from experiments.kit.placebos import TESTS, View, effect_table, further, surpluses
from experiments.kit.runs import Context
from experiments.kit.stats import estimate, per_seed
from experiments.kit.style import CHANNELS, REGIMES, Look
from experiments.kit.tables import RUN, Grid, Tables
from experiments.kit.words import ABSENT, CLEAR, NOT_CLEAR, OPEN, Finding, difference, listed, plural

BOTH = SECOND, FIRST = "generalization", "shakespeare"  # suites
WANTED, TESTED, WITHOUT = "openwebtext", "analysis", "analysis_vanilla"
LOOKS = {
    FIRST: Look("the first corpus", style.BLUE),
    SECOND: Look("the second corpus", style.VERMILLION, "-", "s", filled=False),
}
SWAPPED = {
    "own": Look("its own state", style.BLACK),
    **{name: swap.LOOKS[name] for name in ("other", "random")},
}
NAMES = {"heldout_loss": "held-out loss", **{name: channel.name for name, channel in CHANNELS.items()}}
PLACES = [*product(REGIMES, SHOWN)]
Line = tuple[str, float, "pd.Series[float]", "pd.Series[float] | None", str]
"""Words, the published number, ours by seed, ours with its control taken off, format."""


def dropout_deltas(context: Context) -> pd.DataFrame:
    """One row a run of the condition regimes, regime and metric whose change was published.

    delta: mean in the window minus mean before, as in regime_deltas; calm: the same of the same seed's baseline, in which no
    regime acts, at the same steps; beyond: delta - calm. The last two NaN without a baseline.
    """
    keys, lead = [*RUN, "regime", "metric"], context.suite.signatures.pre_steps
    calm = {run.seed: published.logged(run).drop(columns="regime") for run in context.of("baseline")}
    runs = context.of("regimes")
    made = changes(runs, lead).reindex(columns=[*keys, "delta"])
    paired = [run for run in runs if run.seed in calm]
    rest = changes(paired, lead, lambda run: calm[run.seed].assign(regime=run.metrics()["regime"]))
    rest = rest.reindex(columns=[*keys, "delta"]).rename(columns={"delta": "calm"})
    made = made[made["metric"].isin(published.REPORTED)].merge(rest, on=keys, how="left")
    return made.assign(beyond=made["delta"] - made["calm"])


def change(tables: Tables, regime: str, metric: str, column: str = "delta") -> "pd.Series[float]":
    """What a regime does to a metric of the condition regimes, by seed."""
    return tables.seeds("dropout_deltas", column, regime=regime, metric=metric)


def corpus_of(tables: Tables) -> str:
    """A suite's corpus and what its tokens are; the suite's own name where nothing has run."""
    runs = tables.rows("runs")
    names, kinds = (", ".join(sorted(set(runs[column].astype(str)))) for column in ("corpus", "tokenizer"))
    return f"{names} ({'characters' if kinds == 'char' else kinds})" if len(runs) else f"`{tables.suite}`"


def findings(tables: Tables) -> dict[str, Finding]:
    """What comes back on the second corpus."""
    at, view = tables.by_condition("patch"), View(tables, TESTED)

    def patched(claim: str, metric: str, sign: int, unit: str, otherwise: str) -> Finding:
        parts = {"with minus without": at.minus("patch", "baseline", metric)}
        return difference(claim, parts, sign, unit, otherwise=otherwise)

    return {
        "gains": difference(
            "On the second corpus, too, the model predicts held-out text better with a self-state.",
            {"with minus without": tables.by_condition("runs").minus(TESTED, WITHOUT, "heldout_loss")}, -1, "nats a token",
            otherwise="On the second corpus the model does not predict held-out text clearly better with a self-state.",
        ),
        "signs": _signs(tables),
        "again": _again(tables),
        "patch_drift": patched(
            "While half of the targets are replaced, the state on web text lies further from its average.", "state_ema_drift",
            +1, "1 − cosine", "While half of the targets are replaced, the state on web text does not lie clearly further from its average.",
        ),
        "patch_effect": patched(
            "While half of the targets are replaced, the state on web text has a smaller effect.", "prompt_effect", -1, "mean |Δ logit|",
            "While half of the targets are replaced, the state on web text does not have a clearly smaller effect.",
        ),
        "steers": further(
            view, "replication", "dimension", "The learned reader steers the model further than scrambled and untrained readers do.",
            "The learned reader does not steer the model clearly further than both scrambled and untrained readers do.",
        ),
        "steers_heldout": further(
            view, "heldout", "gradient", "On held-out text, too, the learned reader steers further than untrained readers do.",
            "On held-out text the learned reader does not steer clearly further than untrained readers do.",
        ),
    }  # fmt: skip


def _signs(tables: Tables) -> Finding:
    """Whether changes that are clear on the first corpus are clear on the second, with the same sign."""
    claim = "What regimes do on the first corpus, they do on the second, with the same sign."
    otherwise = "What regimes do on the first corpus, they do not all do on the second with the same sign."
    first, second = ({place: estimate(change(suite, *place, "beyond")) for place in PLACES} for suite in (tables.of(FIRST), tables))  # fmt: skip
    fewest = min((n for place in PLACES if (n := min(first[place].n, second[place].n))), default=0)
    signs = {
        place: agrees(one.mean, second[place])
        for place, one in first.items()
        if one.clear and second[place].n
    }
    if not fewest:
        return Finding(claim, ABSENT, "It needs runs with and without regimes on both corpora.", otherwise)
    if fewest < FEWEST_SEEDS or not signs:
        return Finding(claim, OPEN, "None is clear on the first corpus." if fewest >= FEWEST_SEEDS else "Too few seeds to test.", otherwise)  # fmt: skip
    same, opposite = ([*signs.values()].count(sign) for sign in (1, -1))
    unlike = [f"{NAMES[metric]} in {regime}" for (regime, metric), sign in signs.items() if sign == 0]
    counted = (
        f"Of {len(signs)} changes that are clear on the first corpus, {same or 'none'} {'is' if same == 1 else 'are'} clear on the second with "
        f"the same sign, {opposite or 'none'} with the opposite one."
    )
    left = f" Not clear on the second: {listed(unlike)}." if unlike else ""
    return Finding(
        claim, CLEAR if same == len(signs) else NOT_CLEAR,
        f"First {corpus_of(tables.of(FIRST))}, second {corpus_of(tables)}; each minus the same steps without regimes, n = {fewest}.{left}", counted,
    )  # fmt: skip


def _again(tables: Tables) -> Finding:
    """How many of the published changes on the second corpus a further seed of ours could give."""
    printed = published.CORPORA[SECOND].deltas
    found = {place: estimate(change(tables, *place)) for place in PLACES}
    beside = [(value, printed[regime][metric]) for (regime, metric), value in found.items() if value.n]
    given = [words.again(value, theirs) for value, theirs in beside]
    claim = "A further seed of ours could give every published change on web text."
    if not given:
        return Finding(claim, ABSENT, "It needs runs with regimes.")
    few = min(value.n for value in found.values() if value.n)
    came = given.count(CLEAR)
    turned = sum(
        one == CLEAR and value.mean * theirs < 0 for one, (value, theirs) in zip(given, beside, strict=True)
    )
    though = f", {turned} of them though our mean lies on the other side of zero" * bool(turned)
    return Finding(
        claim, words.worst(given), f"Mean in the window minus mean before it, by the 95 % prediction interval, n = {few}.",
        f"Of {len(given)} published changes on web text, a further seed of ours could give {came or 'none'}{though}.",
    )  # fmt: skip


def stand_in(tables: Tables) -> str:
    """What to say where another corpus stands in for the wanted one."""
    others = sorted({*tables.rows("runs")["corpus"].astype(str)} - {WANTED})
    return (
        f"**Not on OpenWebText: {listed([f'`{name}`' for name in others])} {'stand' if len(others) > 1 else 'stands'} in for it. "
        "Nothing here was measured on web text.**"
    ) * bool(others)


def numbers(tables: Tables, part: str) -> list[Line]:
    """A page's table of one corpus."""
    printed = published.CORPORA[tables.suite]
    if part == "deltas":
        return [
            (f"`{regime}`, {NAMES[metric]}", printed.deltas[regime][metric], change(tables, regime, metric), change(tables, regime, metric, "beyond"), f"±{digits}")
            for regime, (metric, digits) in product(REGIMES, SHOWN.items())
        ]  # fmt: skip
    if part == "frozen":
        states, sizes = (tables.rows(f"frozen_{name}", condition=TESTED, protocol="replication") for name in ("conditions", "effects_summary"))  # fmt: skip
        rows = ((name, said, per_seed(states[states["state"] == name], "delta_entropy"), None, "±3") for name, said in printed.entropies.items())  # fmt: skip
        return [*rows, ("effect size", printed.size, per_seed(sizes, "effect"), surpluses(sizes), "3")]
    at, other = tables.by_condition(part), WITHOUT if part == "runs" else "baseline"
    losses = {("heldout_loss", name): said for name, said in printed.losses.items()}
    cells = printed.patch if part == "patch" else losses
    return [
        (f"`{name}`, {NAMES[metric]}", said, at.of(name, metric), None if name == other else (at.of(name, metric) - at.of(other, metric)).dropna(), "4")
        for (metric, name), said in cells.items()
    ]  # fmt: skip


def beside(tables: Tables, part: str, head: str, control: str) -> str:
    """A table of a page: of both corpora the published number, ours, and ours with a control taken off."""
    suites, lines = [tables.of(name) for name in BOTH], []
    for pair in zip(*(numbers(suite, part) for suite in suites), strict=True):
        cells = [pair[0][0]]
        for _, said, ours, off, kind in pair:
            beyond = words.DASH if off is None else shown(estimate(off), f"±{kind.lstrip('±')}")
            cells += [shown(estimate(pd.Series([said])), kind), shown(estimate(ours), kind), beyond]
        if len(pair[0][2]):
            lines.append([*cells, ", ".join(str(len(one[2])) for one in pair)])
    heads = [f"{corpus_of(suite)}: {what}" for suite in suites for what in ("published", "ours", control)]
    return words.table([head, *heads, "n"], lines) if lines else words.MISSING


def placebos(tables: Tables) -> str:
    """Effect sizes of the frozen-weight test beside placebos, on both corpora."""
    views = [
        View(suite, TESTED, corpus_of(suite), published.CORPORA[suite.suite].size)
        for suite in map(tables.of, BOTH)
    ]
    return effect_table(list(TESTS), *views) if views[0].steps() else words.MISSING


def on_both(metric: str) -> draw.Panel:
    """The change of a metric by regime on both corpora, and the published ones."""

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        drawn: dict[str, pd.Series[float]] = {}
        for shift, (name, look) in zip((-0.17, 0.17), looks.items(), strict=True):
            for place, regime in enumerate(REGIMES):
                values = change(tables.of(name), regime, metric)
                said = published.CORPORA[name].deltas[regime][metric]
                marks.by_seed(axes, place + shift, values, look, upright=False, bar=0.13, ms=3)
                if len(values):
                    axes.plot(said, place + shift, "x", c="k", ms=4.5, mew=1.1, zorder=5)
                    drawn[name] = pd.concat([drawn.get(name), values, pd.Series([said])])
        if drawn:
            marks.change_axis(axes, pd.concat(drawn))
        marks.categories(axes, [*REGIMES], upright=False)
        marks.level(axes, upright=False)
        axes.set_xlabel(f"Δ {CHANNELS[metric].label}")
        return [*drawn]

    return draw.Panel(("dropout_deltas", "runs"), panel)


def caption(tables: Tables) -> str:
    """Whose seeds are drawn, and how they are to be read."""
    suites = (tables.of(FIRST), tables)
    whose = [
        f"{corpus_of(one)}, {plural(one.rows('dropout_deltas')['seed'].nunique(), 'seed')}" for one in suites
    ]
    return (
        f"First corpus: {whose[0]}; second: {whose[1]}; dropout 0.2. Mean in the window minus mean before it; one point a seed, mean and 95 % "
        "interval; crosses: published, one run. Axes are linear within the dotted lines and logarithmic outside."
    )  # fmt: skip


FIGURE = draw.sheet(
    "openwebtext.png", [on_both(metric) for metric in SHOWN], grid=(2, 2), height=5.2, looks=LOOKS, title=("again",), caption=caption,
    marks="points", share_y=True,
    shows="What each regime does to loss, entropy, drift and effect on both corpora, seed by seed, beside the published changes.",
)  # fmt: skip
GRIDS: dict[str, Grid] = {
    "stand_in": stand_in, "placebos": placebos,
    "losses": partial(beside, part="runs", head="nats a token", control=f"that − `{WITHOUT}`'s"),
    "deltas": partial(beside, part="deltas", head="regime, channel", control="that − `baseline`'s"),
    "patch": partial(beside, part="patch", head="condition, channel", control="that − `baseline`'s"),
    "frozen": partial(beside, part="frozen", head="Δ entropy of a state against zero, nats", control="that − mean of placebo readers"),
    "swapped": pages.grid(
        "swap_summary", SWAPPED, head="goes on with", only=True, drift=("distance from the average", "4"), effect=("effect", "3"),
        first_loss=("first step: loss − own's", "±4"),
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    "generalization", "Generalization: does it come back on web text?", (dropout_deltas,), findings, (FIGURE,), GRIDS, (SECOND, FIRST),
    page="openwebtext.md",
)  # fmt: skip
