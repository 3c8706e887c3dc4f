"""Does the state hold a belief about the regime? What can be read from it, beside what the evidence alone gives.

For each run in a recurring world the forward filter (kit/filtering.py) says what could be known of the regime of each
step from all statistics shown until then. Its emission is fitted on the other seeds' runs; no regime of the run itself
is used. Then that posterior, and the true regime, are read linearly from the state.

The axes of a state mean nothing in another seed, and move while the network learns. So the reading is fitted within
the run, on earlier steps, and tested on later ones, a stay's length apart: three blocks of the run's last 60 %, each
read by what the steps before it taught (kit/readout.py). Everything that rivals the state is read the same way.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from configs.world import Recurring
from experiments.kit import pages, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import EVERY, Experiment, Table
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.marks import by_seed, categories, level, not_measured, shade
from experiments.kit.readout import auc, blocks, decoded, r_squared
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.style import Look
from experiments.kit.tables import CALM, Tables, stack, stretches
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    Finding,
    difference,
    interval,
    number,
    percent,
)
from experiments.subjects import (
    AVERAGES,
    BATCH,
    SHUFFLE,
    STATE,
    UNTRAINED,
    Subject,
    averaged,
    is_full,
    sources,
    subjects,
)

ANY, BEWILDERED = "any", "bewilderment"  # ANY: that some regime acts, whichever
POSTERIOR, REGIME = "posterior", "regime"  # targets
TWIN = "twin posterior"  # of the run without a state, of the same world and seed: one target for state and untrained
FILTER = "filter"  # as a source
EXAMPLE = 400  # steps of belief_example, the last ones
SHOWN = 300  # of them in the figure
APART = 25  # steps at most between the two of a pair in batch_auc
LOWEST = -0.6  # R2; what lies below is drawn at the edge
DOUBT = (
    0.65,
    0.85,
)  # AUC of one batch's loss that counts as about 0.75, what the faint world was meant to have


@dataclass(frozen=True)
class World:
    """A world by a condition whose state is asked: its name, the same in a sentence, the same with the raw mechanism."""

    name: str
    told: str
    other: str = ""


WORLDS = {
    "calibrated_recurring": World("recurring", "In the recurring world", "raw_recurring"),
    "faint": World("faint", "In the faint world"),
    "calibrated_mix": World("mix", "In the mix of five regimes", "raw_mix"),
}
SOURCES = {
    STATE: Look("the state", style.BLUE),
    BATCH: Look("statistics of one batch", style.GREEN, marker="^"),
    AVERAGES: Look("their averages, at the state's decay", style.VERMILLION, marker="D"),
    UNTRAINED: Look("state of an untrained network", style.GREY, marker="^", filled=False),
    SHUFFLE: Look("the state, turned in time", style.GREY, marker="P", filled=False),
    FILTER: Look("the forward filter itself", style.BLACK, marker="*"),
}
STATES = {
    "calm": Look("calm mean (before)", style.GREY, filled=False),
    "regime": Look("bewilderment mean (after)", style.BLUE),
    "mirrored": Look("mirrored", style.PURPLE, marker="v"),
    "random": Look("random, as far", style.GREY, marker="P", filled=False),
    "foreign": Look("partner seed's mean", style.ORANGE, marker="D", filled=False),
    "zero": Look("zero", style.BLACK, marker="x"),
}


def readings(context: Context) -> dict[str, pd.DataFrame]:
    """Three tables, from all runs whose schedule is recurring. Posteriors need a second seed.

    beliefs: a row a run, source, target and regime. r2, auc: of the target's reading, over `steps` tested ones; means over
    draws where a source has several.
    belief_example: of each condition's run in the middle by r2, so that what is shown is not the best, the last steps:
    step, regime, the posterior that any regime acts, what is read of it from the state (decoded) and from averages.
    belief_components: of the same run, where there are several regimes, states of the last half in their first two
    principal components, share1 and share2 of the variance, beside the regime that is believed in and its probability.
    """
    known = [
        run for run in context.runs if isinstance(run.config.schedule, Recurring) and not run.config.first
    ]
    asked = subjects(sorted(known, key=lambda run: (run.condition, run.seed)))
    scored, examples, components = [], [], []
    for condition in dict.fromkeys(subject.run.condition for subject in asked):
        ranked = []
        for subject in (one for one in asked if one.run.condition == condition):
            rows = pd.DataFrame(
                _scores(subject), columns=["source", "target", "regime", "r2", "auc", "steps"]
            )
            scored.append(subject.run.label(rows))
            mine = rows[(rows["source"] == STATE) & (rows["target"] == POSTERIOR)]["r2"].head(1).dropna()
            ranked += [(r2, subject.run.seed, subject) for r2 in mine]
        ranked.sort(key=lambda one: one[:2])
        for _, _, subject in ranked[(len(ranked) - 1) // 2 :][:1]:
            if is_full(subject.run):
                examples.append(subject.run.label(_example(subject)))
                if len(subject.chain.names) > 2:
                    components.append(subject.run.label(_components(subject)))
    return {
        "beliefs": stack(scored),
        "belief_example": stack(examples),
        "belief_components": stack(components),
    }


def _goals(
    subject: Subject, own: np.ndarray | None, twin: np.ndarray | None = None
) -> dict[tuple[str, str], np.ndarray]:
    """What is to be read, (n,) by target and regime: the posteriors that there are, and the truth.

    Of each the chance that ANY regime acts, where there are several, and that of each.
    """
    names = subject.chain.names
    acting = np.column_stack([subject.regimes == name for name in names]).astype(float)
    found: dict[tuple[str, str], np.ndarray] = {}
    for target, each in ((POSTERIOR, own), (REGIME, acting), (TWIN, twin)):
        if each is not None:
            found |= {(target, ANY): each[:, 1:].sum(1)} if len(names) > 2 else {}
            found |= {(target, name): column for name, column in zip(names[1:], each.T[1:], strict=True)}
    return found


def _scores(subject: Subject) -> list[tuple[str, str, str, float, float, int]]:
    """Rows of `beliefs` of one run. A posterior counts as true above one half."""
    parts = blocks(subject.steps, subject.run.config.train.steps)
    if not parts:
        return []
    tested, rows = np.concatenate([np.arange(len(subject.steps))[block.tested] for block in parts]), []

    def add(source: str, goals: dict[tuple[str, str], np.ndarray], reads: Iterable[np.ndarray]) -> None:
        for place, ((target, regime), column) in enumerate(goals.items()):
            truth, found = column[tested], [read[tested, place] for read in reads]
            r2, area = np.mean([(r_squared(truth, one), auc(truth > 0.5, one)) for one in found], axis=0)
            rows.append((source, target, regime, r2, area, len(tested)))

    for source, given in sources(subject).items():
        of_twin = subject.twin_posterior if source in (STATE, UNTRAINED) else None
        goals = _goals(subject, of_twin if source == UNTRAINED else subject.posterior, of_twin)
        y = np.column_stack([*goals.values()])
        add(source, goals, [decoded(x, y, parts) for x in given])
    if subject.posterior is not None:
        goals = _goals(subject, subject.posterior)
        believed = np.column_stack([column for (target, _), column in goals.items() if target == POSTERIOR])
        add(FILTER, {place: column for place, column in goals.items() if place[0] == REGIME}, [believed])
    return rows


def _example(subject: Subject) -> pd.DataFrame:
    """Rows of `belief_example`."""
    assert subject.posterior is not None
    parts = blocks(subject.steps, subject.run.config.train.steps)
    y = 1 - subject.posterior[:, :1]
    read, averages = (decoded(x, y, parts)[:, 0] for x in (subject.states, averaged(subject)))
    made = {
        "step": subject.steps,
        "regime": subject.regimes,
        "posterior": y[:, 0],
        "decoded": read,
        "averages": averages,
    }
    return pd.DataFrame(made).dropna().tail(EXAMPLE)


def _components(subject: Subject) -> pd.DataFrame:
    """Rows of `belief_components`."""
    assert subject.posterior is not None
    late = subject.steps >= subject.run.config.train.steps // 2
    states, posterior = subject.states[late] - subject.states[late].mean(0), subject.posterior[late]
    _, sizes, axes = np.linalg.svd(states, full_matrices=False)
    shares = np.append(sizes**2 / max((sizes**2).sum(), 1e-300), 0.0)
    points = np.column_stack([states @ axes[:2].T, np.zeros(len(states))])
    made = {
        "step": subject.steps[late], "component1": points[:, 0], "component2": points[:, 1], "share1": shares[0],
        "share2": shares[1], "believed": np.array(subject.chain.names)[posterior.argmax(1)],
        "probability": posterior.max(1), "regime": subject.regimes[late],
    }  # fmt: skip
    return pd.DataFrame(made)


def batch_auc(context: Context) -> pd.DataFrame:
    """A row a run and regime: how well the loss of one batch alone tells the regime from calm.

    auc: the share of `pairs` of one step under the regime and one in calm, at most APART steps apart and after warm-up, in
    which the regime's loss is the higher; ties count half. Pairs so near in time share their place in training, so no
    trend has to be taken off, and none can help or hide.
    """
    parts = []
    for run in sorted(context.runs, key=lambda run: (run.condition, run.seed)):
        schedule, asked = run.config.schedule, is_full(run) or not run.config.injects
        if not isinstance(schedule, Recurring) or run.config.first or not asked:
            continue
        log = run.metrics()
        log = log[log["step"] >= run.config.train.warmup_steps]
        loss, regimes, rows = log["loss"].to_numpy(), log["regime"].to_numpy(dtype=str), []
        calm = np.flatnonzero(regimes == CALM)
        for name in dict.fromkeys(schedule.regimes):
            acting = np.flatnonzero(regimes == name)
            higher = np.sign(loss[acting][:, None] - loss[calm])[np.abs(acting[:, None] - calm) <= APART]
            area = (higher.mean() + 1) / 2 if len(higher) else np.nan
            rows.append({"regime": name, "auc": area, "pairs": len(higher)})
        parts.append(run.label(pd.DataFrame(rows)))
    return stack(parts)


def belief_shifts(context: Context) -> pd.DataFrame:
    """The rows of all finished interventions (probes/belief.py), weights frozen and the state set: a row a case.

    state, regime, draw: what is set. distance: L2 from the calm mean; norm. kl: from the optimum of bewilderment to the
    prediction, kl_calm: from the prediction under the calm mean, nats a token. entropy; nll_clean and nll_corrupted: of
    targets as they are, and as the regime has them.
    """
    return context.probed("belief", "belief")


def read(tables: Tables, condition: str, source: str, target: str, column: str = "r2") -> "pd.Series[float]":
    """A reading's R2 or AUC by seed; where there are several regimes, of any."""
    rows = tables.rows("beliefs", condition=condition, source=source, target=target)
    several = rows["regime"] == ANY
    return per_seed(rows[several] if several.any() else rows, column)


def shift(tables: Tables, condition: str, state: str, column: str = "kl") -> "pd.Series[float]":
    """A measure under one kind of state by seed, means over draws; of regimes, bewilderment's."""
    rows = tables.rows("belief_shifts", condition=condition, state=state)
    return per_seed(rows[(rows["regime"] == BEWILDERED) | (state != "regime")], column)


def beyond(tables: Tables, condition: str, *rivals: str) -> dict[str, Estimate]:
    """R2 of the posterior in the state minus that in each rival; against an untrained network, both on its target."""
    found = {}
    for rival in rivals:
        fresh = rival == UNTRAINED
        pair = (read(tables, condition, source, TWIN if fresh else POSTERIOR) for source in (STATE, rival))
        found[f"minus {SOURCES[rival].label}" + ", both on its target" * fresh] = paired(*pair)
    return found


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says, and figure titles, world by world."""
    found = {}
    for condition, world in WORLDS.items():
        own = {"its own R²": estimate(read(tables, condition, STATE, POSTERIOR))}
        found[f"{world.name}_tells"] = difference(
            f"{world.told} the state tells something of the posterior, in R².",
            own | beyond(tables, condition, SHUFFLE), +1, pairs=False,
        )  # fmt: skip
        found[f"{world.name}_more"] = difference(
            f"{world.told} the state tells more of the posterior than each of its rivals, in R².",
            beyond(tables, condition, BATCH, AVERAGES, UNTRAINED), +1,
        )  # fmt: skip
    one = estimate(per_seed(tables.rows("batch_auc", condition="faint_vanilla", regime=BEWILDERED), "auc"))
    inside = CLEAR if one.low > DOUBT[0] and one.high < DOUBT[1] else NOT_CLEAR
    found["doubt"] = Finding(
        f"In the faint world one batch leaves real doubt: AUC between {DOUBT[0]} and {DOUBT[1]}.",
        ABSENT if not one.n else OPEN if one.n < FEWEST_SEEDS else inside,
        f"`faint_vanilla`: {interval(one, sign=False)}, n = {one.n}." if one.n else "It was not measured.",
    )
    kinds = {
        world.name: paired(*(read(tables, name, STATE, POSTERIOR) for name in (condition, world.other)))
        for condition, world in WORLDS.items()
        if world.other
    }
    found["kinds"] = difference(
        "A calibrated state tells more of the posterior than one of the raw mechanism, in R².",
        kinds,
        +1,
    )
    for condition, world in WORLDS.items():
        after = shift(tables, condition, "regime")
        rivals = {
            STATES[name].label: shift(tables, condition, name)
            for name in ("calm", "random", "mirrored", "foreign")
        }
        found[f"{world.name}_moves"] = difference(
            f"{world.told} the mean state of bewilderment, put in, moves predictions towards its optimum, and further than "
            "random, mirrored and foreign states.",
            {f"minus {label}": paired(after, values) for label, values in rivals.items()}, -1, "nats", 4,
        )  # fmt: skip
    return found


# The page's tables.


def row(label: str, *measures: "pd.Series[float]") -> list[list[str]]:
    """A line of estimates over seeds; none where nothing was measured."""
    counts = [len(one) for one in measures]
    return (
        [[label, *(pages.shown(estimate(one), "3") for one in measures), str(max(counts))]]
        if any(counts)
        else []
    )


def of_worlds(tables: Tables) -> str:
    """A line a world and source: R2 and AUC of the posterior, AUC of the true regime."""
    lines = []
    for condition, world in WORLDS.items():
        asked = [(look.label, source, POSTERIOR) for source, look in SOURCES.items() if source != FILTER]
        for label, source, target in [*asked, ("the state, on the untrained network's target", STATE, TWIN)]:
            r2, area = (read(tables, condition, source, target, column) for column in ("r2", "auc"))
            true = read(tables, condition, source, REGIME, "auc") if target == POSTERIOR else r2[:0]
            for name, of_r2, *others in row(f"{world.name}: {label}", r2, area, true):
                lines.append([name, of_r2, number(float(r2.median())), *others])
    head = [
        "world, read from",
        "R² of the posterior",
        "its median",
        "AUC, posterior > ½",
        "AUC, true regime",
        "n",
    ]
    return words.table(head, lines) if lines else MISSING


def of_states(tables: Tables) -> str:
    """A line a condition, read from its state."""
    lines = []
    for name in dict.fromkeys(tables.rows("beliefs")["condition"]):
        lines += row(
            f"`{name}`", read(tables, name, STATE, POSTERIOR), read(tables, name, STATE, REGIME, "auc")
        )
    return (
        words.table(["condition", "R² of the posterior", "AUC, true regime", "n"], lines)
        if lines
        else MISSING
    )


def of_regimes(tables: Tables) -> str:
    """A line a regime of the mix, a column a source."""
    rows = tables.rows("beliefs", condition="calibrated_mix", target=REGIME)
    lines = []
    for regime in dict.fromkeys(rows["regime"]):
        of = rows[rows["regime"] == regime]
        means = [number(float(per_seed(of[of["source"] == source], "auc").mean()), 2) for source in SOURCES]
        lines.append([str(regime), *means, str(of["seed"].nunique())])
    head = ["AUC of the true regime", *(look.label for look in SOURCES.values()), "n"]
    return words.table(head, lines) if lines else MISSING


def pushed(tables: Tables) -> str:
    """A line a condition: KL to the optimum under states that are put in."""
    lines = []
    for name in dict.fromkeys(tables.rows("belief_shifts")["condition"]):
        kl = {state: shift(tables, name, state) for state in STATES}
        if len(kl["regime"]):
            share = 1 - kl["regime"] / kl["calm"].where(kl["calm"] > 0)
            ((label, *cells, n),) = row(f"`{name}`", kl["calm"], kl["regime"], share.dropna())
            means = [number(float(kl[state].mean())) for state in ("random", "mirrored", "foreign", "zero")]
            lines.append([label, *cells, *means, n])
    labels = [look.label for look in STATES.values()]
    others = (STATES[state].label for state in ("random", "mirrored", "foreign", "zero"))
    head = ["KL(optimum ‖ prediction), nats", *labels[:2], "share of the way", *others, "n"]
    return words.table(head, lines) if lines else MISSING


def losses(tables: Tables) -> str:
    """A line a condition: losses on clean and corrupted targets."""
    asked = {"calm": STATES["calm"].label, "regime": STATES["regime"].label, "optimum": "the optimum itself"}
    lines = []
    for name in dict.fromkeys(tables.rows("belief_shifts")["condition"]):
        columns = [
            shift(tables, name, state, f"nll_{kind}") for kind in ("clean", "corrupted") for state in asked
        ]
        if len(columns[1]):
            lines.append([f"`{name}`", *(number(float(one.mean())) for one in columns), str(len(columns[1]))])
    head = [f"{kind}, {label}" for kind in ("clean", "corrupted") for label in asked.values()]
    return words.table(["NLL, nats", *head, "n"], lines) if lines else MISSING


# Figures.


def strip(
    tables: tuple[str, ...], looks: dict[str, Look], values: Callable[[Tables, str], "pd.Series[float]"], title: str,
    label: str, style_of: Callable[[Axes], None],
) -> draw.Panel:  # fmt: skip
    """A line a look: a point a seed, mean and interval."""

    def make(axes: Axes, found: Tables, _: draw.Looks) -> list[str]:
        known = {name: values(found, name) for name in looks}
        for place, (name, look) in enumerate(looks.items()):
            by_seed(axes, place, known[name], look, upright=False, apart=0.2, bar=0.32)
        both = pd.DataFrame({name: known[name] for name in ("calm", "regime") if name in known}).dropna()
        if len(both):  # before and after, joined by seed
            axes.plot(both.to_numpy().T, [0, 1], c=style.LIGHT, lw=0.6, zorder=1)
        categories(axes, [look.label for look in looks.values()], upright=False, striped=False)
        style_of(axes)
        axes.set_title(title)
        axes.set_xlabel(label)
        drawn = [name for name in looks if len(known[name])]
        if not drawn:
            not_measured(axes)
        return drawn

    return draw.Panel(tables, make)


def reading(condition: str, target: str, column: str) -> draw.Panel:
    """What is read of a target from each source, in one world."""
    world, other = WORLDS[condition], "published"
    looks = {
        STATE: SOURCES[STATE],
        other: Look("state, raw mechanism", style.ORANGE, marker="s", filled=False),
    }
    looks |= {name: look for name, look in SOURCES.items() if name != FILTER or column == "auc"}

    def values(tables: Tables, source: str) -> "pd.Series[float]":
        return read(
            tables, *((world.other, STATE) if source == other else (condition, source)), target, column
        )

    def bounds(axes: Axes) -> None:
        low, high, chance = (LOWEST, 1.04, 0.0) if column == "r2" else (0.3, 1.02, 0.5)
        for line in list(axes.lines):  # what lies below has an arrowhead at the edge
            places = np.asarray(line.get_xdata(), float)
            if (places < low).any():
                heights = np.asarray(line.get_ydata(), float)[places < low]
                axes.plot(np.full(len(heights), low), heights, "<", c=line.get_color(), ms=3, zorder=3)
                line.set_xdata(np.maximum(places, low))
        axes.set_xlim(low - 0.04, high)
        level(axes, chance, upright=False, ls="dotted")

    label = "R² of the posterior" if column == "r2" else "AUC of the true regime"
    return strip(("beliefs",), looks, values, world.name, label, bounds)


def over_time(condition: str) -> draw.Panel:
    """The posterior and what is read of it, over the last steps of one run; regimes shaded."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = tables.rows("belief_example", condition=condition)
        if rows.empty:
            not_measured(axes)
            return []
        rows, seed = rows.sort_values("step").tail(SHOWN), int(rows["seed"].iloc[0])
        shade(axes, stretches(rows))
        for column, look in looks.items():
            axes.plot(rows["step"], rows[column], c=look.colour, ls=look.line, lw=look.width, zorder=3)
        axes.set_xlim(rows["step"].min(), rows["step"].max())
        axes.set_ylim(*axes.dataLim.intervaly.clip([-1.5, 1.2], [-0.2, 2.5]))
        axes.set_yticks([0, 0.5, 1])
        found = read(tables, condition, STATE, POSTERIOR)
        here = f", {number(found[seed], 2)} here, in seed {seed}" if seed in found.index else ""
        axes.set_title(f"{WORLDS[condition].name}: R² {number(found.mean(), 2)} over seeds{here}")
        axes.set_ylabel("p(a regime acts)")
        return [*looks]

    return draw.Panel(("belief_example", "beliefs"), make, along=True)


def components(column: str, title: str) -> draw.Panel:
    """States of one run in two components, by the regime that a column names; surer beliefs larger."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = tables.rows("belief_components", condition="calibrated_mix")
        for name, look in looks.items():
            mine = rows[rows[column] == name]
            axes.scatter(
                mine["component1"], mine["component2"], marker=look.marker, linewidths=0.5, alpha=0.6, edgecolors=look.colour,
                s=1 + 7 * mine["probability"] ** 2 if column == "believed" else 7.0, facecolors=look.colour if look.filled else "none",
                zorder=1 + (name != CALM),
            )  # fmt: skip
        for number_, label in ((1, axes.set_xlabel), (2, axes.set_ylabel)):
            label(f"component {number_} ({percent(rows[f'share{number_}'].mean())} of the variance)")
        axes.set_title(title)
        return [name for name in looks if (rows[["believed", "regime"]] == name).any(axis=None)]

    return draw.Panel(("belief_components",), make)


def set_to(condition: str, title: str) -> draw.Panel:
    """KL from the optimum of bewilderment under states that are put in."""

    def values(tables: Tables, state: str) -> "pd.Series[float]":
        return shift(tables, condition, state)

    def across(axes: Axes) -> None:
        style.log_axis(axes, across=True)

    return strip(("belief_shifts",), STATES, values, title, "KL(optimum ‖ prediction), nats", across)


def of_components(tables: Tables) -> str:
    """The title of the figure on components."""
    rows = tables.rows("belief_components", condition="calibrated_mix")
    agree, commonest = (
        (rows["believed"] == rows["regime"]).mean(),
        rows["regime"].value_counts(normalize=True),
    )
    shares = rows["share1"].mean() + rows["share2"].mean()
    return (
        f"States of one run among five regimes: the filter names the acting one in {percent(agree)} of the steps, where always "
        f"saying {commonest.index[0]} is right in {percent(commonest.iloc[0])}; two components hold {percent(shares)} of the state's "
        "variance"
    )


CURVES = {
    "posterior": Look("posterior", style.BLACK, (0, (4, 1.4))),
    "decoded": Look("read from the state", style.BLUE, width=1.0),
    "averages": Look("read from the statistics' averages", style.ORANGE, (0, (1, 1)), width=0.9),
}
REGIMES = {
    CALM: Look(CALM, "#bdbdbd", marker="."),
    "bewilderment": Look("bewilderment", style.VERMILLION, marker="X"),
    "sensory_fog": Look("sensory_fog", style.BLUE, filled=False),
    "false_feedback": Look("false_feedback", style.GREEN, marker="s", filled=False),
    "self_clamp": Look("self_clamp", style.PURPLE, marker="D", filled=False),
    "lr_heatwave": Look("lr_heatwave", style.ORANGE, marker="^", filled=False),
}
FIGURES = (
    draw.sheet(
        "beliefs/belief-over-time.png", [over_time(condition) for condition in WORLDS], grid=(3, 1), height=5.3, looks=CURVES,
        marks="line", x="step", title=[f"{world.name}_tells" for world in WORLDS.values()],
        shows="The forward filter's posterior that a regime acts, and what is read of it from the state, over the last steps of one "
        "run a world; regimes shaded.",
        caption=f"The last {SHOWN} steps of the run that is the middle one of its seeds by R². Posterior: forward filter with the true "
        "switching probabilities; its emission is fitted on the other seeds. Readings: fitted on earlier steps of the run; a linear "
        "reading can leave 0 to 1, and what leaves the axes is cut off. Grey: a regime acts.",
    ),
    draw.sheet(
        "beliefs/what-the-state-knows.png",
        [reading(name, *what) for what in ((POSTERIOR, "r2"), (REGIME, "auc")) for name in WORLDS],
        grid=(2, 3), height=5.6, share_y="row", title=[f"{world.name}_more" for world in WORLDS.values()],
        shows="How much of the posterior and of the true regime can be read from the state, beside one batch's statistics, their "
        "averages, an untrained network's state and a state turned in time.",
        caption="{seeds}; bars: mean and, from three seeds on, 95 % t interval. All read by ridge regression within each run, fitted on "
        "earlier steps and tested on later ones. Posterior: forward filter over all statistics shown so far, its emission fitted on "
        "other seeds. Untrained: the same shape, never trained, shown the statistics of the run without a state and read for the "
        "posterior from those. Turned in time: the run's own states, moved against the "
        f"steps. Mix: of five regimes, whether any acts. R² below {number(LOWEST, 2)}: an arrowhead at the edge. Dotted: nothing known.",
    ),
    draw.sheet(
        "beliefs/mix-components.png",
        [components("believed", "likeliest by the posterior"), components("regime", "the regime that acts")],
        grid=(1, 2), height=4.1, looks=REGIMES, marks="points", columns=6, share_x=True, share_y=True, title=of_components,
        shows="States of one run among five regimes in two principal components, by the regime that the posterior holds likeliest and "
        "by the true one.",
        caption="calibrated_mix, the run that is the middle one of its seeds by R², the steps of the last half, a point each. Left: "
        "larger points are surer beliefs. self_clamp holds the state, so it leaves it wherever it was. Two components chosen for "
        "variance, not to part the regimes.",
    ),
    draw.sheet(
        "beliefs/intervention.png",
        [
            set_to("calibrated_recurring", "recurring, calibrated"), set_to("faint", "faint, calibrated"),
            set_to("calibrated_mix", "mix, calibrated"), set_to("raw_recurring", "recurring, raw mechanism"),
            set_to("yoked", "recurring, yoked"), set_to("oracle", "recurring, oracle"),
        ],
        grid=(2, 3), height=5.6, share_y=True, title=[f"{world.name}_moves" for world in WORLDS.values()],
        shows="Weights frozen, the mean state of bewilderment put in: how far predictions are from its optimum before and after, beside "
        "random, mirrored and foreign states.",
        caption="{seeds}; bars: mean and, from three seeds on, 95 % t interval; random: mean of its draws. Weights frozen, held-out batches. Optimum of "
        "bewilderment at probability p: (1 − p) times the prediction under the calm mean, p over the vocabulary; so the calm mean's own KL is what there is "
        "to gain, and p differs between panels. Mirrored: as far from the calm mean, the other way. Means of the last half of training. "
        "Yoked: fed another run's statistics; oracle: shown the true regime.",
    ),
)  # fmt: skip
EXPERIMENT = Experiment(
    "beliefs", "What the state knows: a belief about the regime?",
    (
        Table(readings, names=("beliefs", "belief_example", "belief_components"), suites=("recurring",)),
        Table(batch_auc, suites=("recurring",)),
        belief_shifts,
    ),
    findings, FIGURES,
    {
        "worlds": of_worlds, "states": of_states, "regimes": of_regimes, "pushed": pushed, "losses": losses,
        "batch": pages.grid("batch_auc", head="regime, condition", across="regime", auc=("AUC of one batch's loss", "3")),
    },
    suites=("recurring", EVERY),
)  # fmt: skip
