"""Ambiguous windows: two runs of a seed after cues of opposite sign, disturbed alike. Can they be told apart?

The cue is given to the state alone: batches, targets and losses of the two runs, the *twins*, stay the same but for what
the state does. Then both meet the same corruption at the same steps, the shared window; after it one stays disturbed. By
its update alone a state keeps (1 - decay)^n of the cue n steps later, so what is left in a state without memory has come
round by the weights; it is what memories are held against. Where the windows lie is read from the logs.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.kit import marks, pages
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.runs import Context, Run
from experiments.kit.stats import Estimate, mean_of_known, paired
from experiments.kit.tables import ByCondition, Tables, shared_windows, stack, windows_of
from experiments.kit.words import Finding, difference
from experiments.memory_figure import LOOKS as MEMORIES

LOOKS = {name: MEMORIES[name] for name in ("none", "ema", "buffer_64")}
HELD = ("ema", "buffer_64")
LOGGED = ("gate", "prompt_effect", "loss")  # whose difference is taken beside that of the states
STATISTICS = ("entropy_last", "top1_last", "grad_norm")
FEATURES = ("gate", "state_norm", "state_ema_drift", "prompt_effect", "loss", *STATISTICS)
NAMES = {
    "state_norm": "state norm", "state_ema_drift": "distance from average", "prompt_effect": "state effect", "entropy_last": "entropy",
    "top1_last": "top-1 confidence", "grad_norm": "gradient norm", "none": "no memory", "ema": "average", "buffer_64": "64 states",
}  # fmt: skip
BIN = 10  # steps that a point of a path is the mean of


@dataclass(frozen=True)
class Twins:
    """Two runs of a seed, row i at step i in both, long before short.

    place: suite, memory and seed. distances: (n, 1 + LOGGED), L2 between the states, |difference| of what is logged.
    spans: (n,) bool by name: before, as many calm steps before the cue as the shared window has; cue, its last half;
    after, the last half of the calm steps between; shared; shown, from the cue's start to the shared window's end. Then, ends included as published:
    baseline, from the cue, in it, too, to the shared window; ambiguous, which is that; future, to the longer one's end.
    """

    place: dict[str, object]
    runs: tuple[Run, Run]
    logs: tuple[pd.DataFrame, pd.DataFrame]
    distances: pd.DataFrame
    spans: dict[str, np.ndarray]


def twins(context: Context) -> list[Twins]:
    """NAME_long and NAME_short of each seed that has both, with a state, and a cue and a disturbance in each."""
    runs, found = {(run.condition, run.seed): run for run in context.runs}, []
    for (condition, seed), long in runs.items():
        memory, columns = condition.removesuffix("_long"), ["step", "regime", *FEATURES]
        short = runs.get((f"{memory}_short", seed))
        if (
            memory == condition
            or short is None
            or (one := long.states()) is None
            or (other := short.states()) is None
        ):
            continue
        logs = (long.metrics().reindex(columns=columns), short.metrics().reindex(columns=columns))
        windows = [windows_of(log) for log in logs]
        if min(map(len, windows)) < 2:
            continue
        ends = [list(map(int, table["end"])) for table in windows]
        start, begin = map(int, windows[0]["start"][:2])
        end, shared, last = ends[0][0], min(ends[0][1], ends[1][1]), max(ends[0][1], ends[1][1])
        steps = {
            "before": (start - (shared - begin), start), "cue": ((start + end) // 2, end), "after": ((end + begin) // 2, begin),
            "shared": (begin, shared), "shown": (start, shared),
            "baseline": (start, begin), "ambiguous": (begin, shared + 1), "future": (shared, last + 1),
        }  # fmt: skip
        step = logs[0]["step"].to_numpy()
        apart = (logs[0][list(LOGGED)] - logs[1][list(LOGGED)]).abs().astype(float)
        apart.insert(0, "state", np.linalg.norm(one.astype(float) - other.astype(float), axis=1))
        spans = {name: (step >= first) & (step < stop) for name, (first, stop) in steps.items()}
        place = {"suite": long.suite, "memory": memory, "seed": seed}
        found.append(Twins(place, (long, short), logs, apart, spans))
    return found


def ambiguous(context: Context) -> pd.DataFrame:
    """One row a memory and seed: how far the twins are apart, and how much of that is left of the cue.

    cue, shared: mean L2 between their states in the last half of the cue, and in the shared window. echo: shared over cue.
    echo_after: mean in the last half of the calm steps between, over cue. gate_echo, prompt_effect_echo, loss_echo: echo of
    |difference|; NaN where nothing is logged, or nothing differs under the cue.
    """
    rows = []
    for pair in twins(context):
        means = {name: pair.distances.loc[pair.spans[name]].mean() for name in ("cue", "after", "shared")}
        size = means["cue"].replace(0, np.nan)
        echo, after = means["shared"] / size, means["after"] / size
        row = {"cue": means["cue"]["state"], "shared": means["shared"]["state"], "echo": echo["state"]}
        row |= {"echo_after": after["state"], **{f"{name}_echo": echo[name] for name in LOGGED}}
        rows.append({**pair.place, **row})
    return pd.DataFrame(rows)


def ambiguous_paths(context: Context) -> pd.DataFrame:
    """One row a memory, seed and BIN steps (step: their middle), from the cue's start to the shared window's end.

    state, gate, prompt_effect, loss: mean distance of the twins, over that in the last half of the cue.
    """
    parts = []
    for pair in twins(context):
        found = pair.distances / pair.distances.loc[pair.spans["cue"]].mean().replace(0, np.nan)
        middle = pair.logs[0]["step"] // BIN * BIN + (BIN - 1) / 2
        means = found[pair.spans["shown"]].groupby(middle).mean().reset_index()
        parts.append(pd.concat([pd.DataFrame(pair.place, index=means.index), means], axis=1))
    return stack(parts)


def auc(one: "pd.Series[float]", other: "pd.Series[float]") -> float:
    """Share of pairs of a value of one and a value of the other in which the first is larger, ties half; NaN without values."""
    one, other = one.dropna(), other.dropna()
    if one.empty or other.empty:
        return float("nan")
    ranks = pd.concat([one, other], ignore_index=True).rank()[: len(one)]
    return float((ranks.sum() - len(one) * (len(one) + 1) / 2) / (len(one) * len(other)))


def ambiguous_auc(context: Context) -> pd.DataFrame:
    """One row a memory, seed and logged feature: are its values at the steps of the shared window larger in the long twin?

    auc: rank AUC of the steps, long against short; 0.5 where they do not differ. apart: |auc - 0.5|. calm: auc of as many
    calm steps before the cue, where the twins are one run. seeds_apart: mean |AUC - 0.5| in the shared window between
    this seed's runs and each other seed's of the same condition; NaN for one seed.
    """
    pairs, rows = twins(context), []
    for pair in pairs:
        others = [
            one for one in pairs if one.place != pair.place and one.place["memory"] == pair.place["memory"]
        ]
        for name in FEATURES:
            long, short = (log[name] for log in pair.logs)
            found, calm = (
                auc(long[pair.spans[span]], short[pair.spans[span]]) for span in ("shared", "before")
            )
            seeds = [
                abs(auc(mine[name][pair.spans["shared"]], log[name][one.spans["shared"]]) - 0.5)
                for one in others for mine, log in zip(pair.logs, one.logs, strict=True)
            ]  # fmt: skip
            row = {"feature": name, "auc": found, "apart": abs(found - 0.5), "calm": calm}
            rows.append({**pair.place, **row, "seeds_apart": mean_of_known(np.array(seeds, float))})
    return pd.DataFrame(rows).dropna(subset=["auc"], ignore_index=True) if rows else pd.DataFrame()


def memory_stability(context: Context) -> pd.DataFrame:
    """One row a run and window (see `Twins`), of its drift (state_ema_drift) and effect (prompt_effect), as published.

    drift_mean, drift_sd. above: share of steps whose drift lies above the baseline's mean + 2 sd. effect_mean, effect_min.
    effect_slope: by least squares, a step. Standard deviations divide by n.
    """
    parts = []
    for pair in twins(context):
        for run, log in zip(pair.runs, pair.logs, strict=True):
            rows, calm = [], log["state_ema_drift"][pair.spans["baseline"]]
            for window in ("baseline", "ambiguous", "future"):
                drift = log["state_ema_drift"][pair.spans[window]]
                known = log[pair.spans[window]].dropna(subset=["prompt_effect"])
                effect, slope = known["prompt_effect"], np.nan
                if len(known) > 1:
                    slope = np.polyfit(known["step"], effect, 1)[0]
                above = (drift > calm.mean() + 2 * calm.std(ddof=0)).mean()
                row = {
                    "window": window,
                    "drift_mean": drift.mean(),
                    "drift_sd": drift.std(ddof=0),
                    "above": above,
                }
                rows.append(
                    {**row, "effect_mean": effect.mean(), "effect_min": effect.min(), "effect_slope": slope}
                )
            parts.append(run.label(pd.DataFrame(rows)))
    return stack(parts)


def by_memory(rows: pd.DataFrame) -> ByCondition:
    """A table with a row a memory and seed, asked as those are that have a row a condition and seed."""
    return ByCondition(rows.rename(columns={"memory": "condition"}), LOOKS)


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page and the figure's title say."""
    at, steady = (
        by_memory(tables.rows("ambiguous")),
        tables.by_condition("memory_stability", window="ambiguous"),
    )

    def of(feature: str, memory: str, column: str = "apart") -> "pd.Series[float]":
        return tables.seeds("ambiguous_auc", column, feature=feature, memory=memory)

    def beyond(feature: str) -> dict[str, Estimate]:
        return {at.named(name): paired(of(feature, name), of("loss", name)) for name in LOOKS}

    unit, seeds = (
        "of |AUC − 0.5|",
        {at.named(name): paired(of("gate", name), of("gate", name, "seeds_apart")) for name in HELD},
    )
    held = {
        f"{words} minus no memory": steady.minus(f"buffer_64_{one}", f"none_{one}", "drift_mean")
        for one, words in (("long", "told a higher entropy,"), ("short", "told a lower one,"))
    }

    def tells(feature: str, named: str) -> Finding:
        said = f"Where both runs are disturbed alike, {named} {{}} the two apart {{}} than their losses do."
        return difference(
            said.format("tells", "better"),
            beyond(feature),
            +1,
            unit,
            otherwise=said.format("does not tell", "clearly better"),
        )

    return {
        "echo": difference(
            "Where both runs are disturbed alike, their states lie further apart, of what the cue had put between them, with memory than without.",
            at.twins(dict.fromkeys(HELD, "none"), "echo"), +1, "of the distance under the cue",
            otherwise="Where both runs are disturbed alike, their states do not lie clearly further apart, of what the cue had put between them, with memory.",
            reverse="Where both runs are disturbed alike, their states lie nearer together, of what the cue had put between them, with memory than without.",
        ),
        "gate": tells("gate", "the gate"),
        "norm": tells("state_norm", "the state's length"),
        "drift": tells("state_ema_drift", "the state's distance from its average"),
        "seeds": difference(
            "The gate tells two runs of a seed apart better than two seeds that were given the same cue.", seeds, +1, unit,
            otherwise="The gate does not tell two runs of a seed apart clearly better than two seeds that were given the same cue.",
            reverse="The gate tells two runs of a seed apart worse than it does two seeds that were given the same cue.",
        ),
        "steady": difference(
            "Through the disturbance the state stays nearer to its average with 64 past states in memory than without.",
            held, -1, "of 1 − cosine", 4,
            otherwise="Through the disturbance 64 past states in memory do not clearly keep the state nearer to its average.",
        ),
    }  # fmt: skip


def _course(column: str, title: str) -> draw.Panel:
    """A distance step by step, the windows of the shorter run grey."""
    panel = draw.lines("ambiguous_paths", column, title, "over that under the cue", by="memory", log=True)
    return draw.then(
        panel, lambda axes, tables: marks.shade(axes, shared_windows(tables.rows("windows"), "none_short"))
    )


def _told(column: str, title: str) -> draw.Panel:
    """How well each logged number tells apart, on the axis that both panels share."""
    panel = draw.points(
        "ambiguous_auc", column, title, "|AUC − 0.5|", by="memory", across="feature", order=FEATURES, said=NAMES, upright=False,
    )  # fmt: skip
    return draw.then(panel, lambda axes, _: axes.set_xlim(-0.02, 0.52))


FIGURE = draw.sheet(
    "ambiguous.png",
    [
        _course("state", "distance of the states"), _course("gate", "difference of the gates"), _course("loss", "difference of the losses"),
        draw.points("ambiguous", "echo", "echo: distance of the states", "over that under the cue", by="memory", said=NAMES),
        _told("apart", "told apart: two runs"),
        _told("seeds_apart", "told apart: two seeds"),
    ],
    grid=(2, 3), height=6.4, looks=LOOKS, title=("echo",), x="step",
    shows="How far two runs of a seed are apart that were given opposite cues and are disturbed alike after: states, gates and losses "
    "step by step, and how well each logged number tells the runs apart, beside two seeds.",
    caption="Two runs of a seed ({seeds}). Grey: the cue, opposite in the two, then the disturbance that both share. Lines: mean over seeds, "
    "faint: single seeds. Below: in what they share; one point a seed, mean and 95 % t interval. AUC: how often a number is larger in the one run "
    "than in the other; 0.5: as often as not.",
)  # fmt: skip
GRIDS = {
    "echo": pages.grid(
        "ambiguous", LOOKS, by="memory", head="memory", minus={"echo": "none"},
        cue=("states under the cue, L2", "5"), shared=("in the shared window, L2", "5"), echo_after=("left before it", "3"), echo=("echo: left in it", "3"),
        gate_echo=("gate: left in it", "3"), prompt_effect_echo=("prompt effect: left in it", "3"), loss_echo=("loss: left in it", "2"),
    ),
    "auc": pages.grid(
        "ambiguous_auc", list(LOOKS), by="memory", head="feature, memory", across="feature", order=FEATURES,
        auc=("AUC, first run against second", "3"), apart=("|AUC − 0.5|", "3"), seeds_apart=("the same between two seeds", "3"),
        calm=("AUC before the cue", "3"),
    ),
    "stability": pages.grid(
        "memory_stability", head="window, condition", across="window",
        drift_mean=("drift, 1 − cosine", "4"), drift_sd=("its sd", "4"), above=("steps above baseline + 2 sd", "%"),
        effect_mean=("prompt effect", "4"), effect_min=("its least", "4"), effect_slope=("its slope a step", "±6"),
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    "ambiguous", "Ambiguous windows: does the state tell what is alike apart?",
    (ambiguous, ambiguous_paths, ambiguous_auc, memory_stability), findings, (FIGURE,), GRIDS,
)  # fmt: skip
