"""The figure on classification: can the regime of a short window be told, and what do the state's channels add?"""

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.kit import published, style
from experiments.kit.tables import BASIC, CLEAN, NO_CLAMP, PUBLISHED, RAW, STATE, TIME, NothingToDraw
from experiments.kit.words import signed
from plots.figure import Tables

PROTOCOLS = (
    (
        PUBLISHED,
        "published way: fixed windows,\nrandom folds, so that neighbours\nare in both train and test",
    ),
    (CLEAN, "clean way: windows at random\ntimes, whole runs left out"),
    (NO_CLAMP, "clean way, and the regime that\nholds the state left out"),
)
ORDER = (TIME, BASIC, RAW, STATE)
SHIFT = {"self": -0.13, "vanilla": 0.13}  # a model with a self-state and its twin without, side by side


def classification(tables: Tables, note: str) -> Figure:
    """Accuracy of naming the regime of a short window, beside its permutation null and the commonest class."""
    table = tables["classification"]
    protocols = [(key, label) for key, label in PROTOCOLS if (table["protocol"] == key).any()]
    if not protocols:
        raise NothingToDraw("classification.csv holds neither the published nor the clean protocol")
    have = list(dict.fromkeys(table["features"]))
    features = [name for name in ORDER if name in have] + [name for name in have if name not in ORDER]
    made = style.figure(style.WIDE, 3.7)
    panels = made.subplots(1, len(protocols), sharey=True, squeeze=False)[0]
    handles: dict[str, object] = {}
    for axes, (protocol, label) in zip(panels, protocols, strict=True):
        rows = table[table["protocol"] == protocol]
        axes.set_title(label)
        for x, name in enumerate(features):
            _column(axes, x, rows[rows["features"] == name])
            if protocol == PUBLISHED and name in published.CLASSIFICATION:
                axes.plot(
                    x - 0.36, published.CLASSIFICATION[name], "*", c=style.VERMILLION, mfc="white", ms=7, mew=0.8, zorder=4, label="published value"
                )  # fmt: skip
        if rows["accuracy"].isna().all():
            axes.text(
                0.5,
                0.5,
                "not measured: too few runs or windows",
                transform=axes.transAxes,
                ha="center",
                color=style.GREY,
            )
        axes.set_xticks(range(len(features)), [textwrap.fill(name, 10) for name in features])
        axes.set_xlim(-0.6, len(features) - 0.4)
        axes.set_ylim(0, 1.06)
        axes.tick_params(labelleft=True)
        handles = {**dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True)), **handles}
    panels[0].set_ylabel("accuracy")
    counts = " ".join(
        f"{protocol.capitalize()}: runs {_range(table, protocol, 'runs')}, windows {_range(table, protocol, 'windows')}, "
        f"classes {_range(table, protocol, 'classes')}."
        for protocol, _ in protocols
    )
    caption = (
        "Accuracy: share of windows whose regime (or calm) is named rightly; the published way: mean over runs, each "
        f"classified by itself; runs one by one are on the page, for they share what they are predicted from. The raw statistics are what the state is made from. self_clamp holds the state, so its drift of exactly zero "
        f"names it among state channels. {counts}"
    )
    legend = (list(handles.values()), list(handles))
    return style.finish(made, _title(table), caption, note, legend)  # type: ignore[arg-type]


def _column(axes: Axes, x: int, rows: pd.DataFrame) -> None:
    """One feature set: the null as a bar, the commonest class as a line, a point a condition with its number."""
    rows = rows.dropna(subset=["accuracy"])
    if rows.empty:
        return
    mean, top, majority = (rows[name].mean() for name in ("null_mean", "null_95", "majority"))
    axes.bar(x, top, 0.66, color="#e6e6e6", zorder=0, label="labels permuted: 95 % of draws below")
    axes.plot(
        [x - 0.33, x + 0.33], [mean, mean], c=style.GREY, lw=1.2, zorder=1, label="labels permuted: mean"
    )
    axes.plot(
        [x - 0.4, x + 0.4], [majority] * 2, c="k", ls=(0, (2, 1.5)), lw=0.9, zorder=2, label="always the commonest class"
    )  # fmt: skip
    both = rows["condition"].str.split("_").str[0].nunique() > 1
    for condition, accuracy in zip(rows["condition"], rows["accuracy"], strict=True):
        kind = str(condition).split("_")[0]
        look = style.condition(kind)
        place = x + (SHIFT.get(kind, 0.0) if both else 0.0)
        label = {"self": "with a self-state", "vanilla": "without"}.get(kind, kind)
        axes.plot(place, accuracy, look.marker, c=look.colour, ms=4.6, zorder=3, label=label)
        other = rows.loc[rows["condition"] != condition, "accuracy"]
        below = not other.empty and accuracy <= other.max() and (kind == "vanilla" or accuracy < other.min())
        beside = below and accuracy < max(top, majority) + 0.1  # else the number would lie on the null
        axes.annotate(
            f"{accuracy:.2f}", (place, accuracy), xytext=(4, 0) if beside else (0, -5 if below else 5), textcoords="offset points",
            ha="left" if beside else "center", va="center" if beside else "top" if below else "bottom", fontsize=7, zorder=3,
            bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 0.4}, color=look.colour if kind == "self" else "#8f3f00",
        )  # fmt: skip


def _range(table: pd.DataFrame, protocol: str, column: str) -> str:
    values = table.loc[table["protocol"] == protocol, column].astype(int)
    return f"{values.min()}" if values.min() == values.max() else f"{values.min()}–{values.max()}"


def _title(table: pd.DataFrame) -> str:
    """What the state's channels add with whole runs left out, and what time alone does the published way."""
    own = table[table["condition"].astype(str).str.startswith("self")].dropna(subset=["accuracy"])
    score = {
        (protocol, features): float(value)
        for protocol, features, value in zip(own["protocol"], own["features"], own["accuracy"], strict=True)
    }
    parts = []
    ways = (
        (NO_CLAMP, "with whole runs and the held state left out"),
        (CLEAN, "with whole runs left out"),
        (PUBLISHED, "the published way"),
    )
    for protocol, words in ways:
        if (protocol, BASIC) not in score or (protocol, STATE) not in score:
            continue
        before, after = score[protocol, BASIC], score[protocol, STATE]
        told = f"{words}, state channels change accuracy by {signed(after - before, 2)} ({before:.2f} → {after:.2f})"
        if (protocol, RAW) in score:
            told += f", raw statistics reach {score[protocol, RAW]:.2f}"
        parts.append(told)
        break
    if (PUBLISHED, TIME) in score:
        parts.append(f"the published way, the step alone gives {score[PUBLISHED, TIME]:.2f}")
    title = "; ".join(parts) or "telling regimes apart from short windows of the log"
    return title[0].upper() + title[1:]
