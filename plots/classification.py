"""The figure on classification: can the regime of a short window be told, and what do the state's channels add?"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plots import style
from plots.series import NothingToDraw
from plots.style import signed

Tables = dict[str, pd.DataFrame]

PROTOCOLS = (
    ("published", "published way: one run, fixed windows,\nneighbouring windows in both train and test"),
    ("clean", "clean way: windows at random times,\nwhole runs left out"),
)
PUBLISHED_ACCURACY = (0.80, 1.00)  # the seed document: with loss, entropy and confidence; with state channels


def classification(tables: Tables, note: str) -> Figure:
    """Accuracy of naming the regime of a short window, beside its permutation null and the commonest class."""
    table = tables["classification"]
    protocols = [(key, label) for key, label in PROTOCOLS if (table["protocol"] == key).any()]
    if not protocols:
        raise NothingToDraw("classification.csv holds neither the published nor the clean protocol")
    features = list(dict.fromkeys(table["features"]))
    if "with state channels" in features:
        features = [name for name in features if name != "with state channels"] + ["with state channels"]
    made = style.figure(style.WIDE, 3.3)
    all_axes = made.subplots(1, len(protocols), sharey=True, squeeze=False)[0]
    for axes, (protocol, label) in zip(all_axes, protocols, strict=True):
        rows = table[table["protocol"] == protocol]
        axes.set_title(label)
        for x, name in enumerate(features):
            _accuracy(axes, x, rows[rows["features"] == name], published=protocol == "published")
        if protocol == "published" and len(features) == 2:
            for x, value in enumerate(PUBLISHED_ACCURACY):
                axes.plot(
                    x - 0.17,
                    value,
                    "*",
                    c=style.VERMILLION,
                    mfc="white",
                    ms=8,
                    zorder=2,
                    label=_once(axes, "value in the published study"),
                )
        axes.set_xticks(range(len(features)), [name.replace(", conf", ",\nconf") for name in features])
        axes.set_xlim(-0.6, len(features) - 0.4)
        axes.set_ylim(0, 1.06)
        axes.tick_params(labelleft=True)
    all_axes[0].set_ylabel("accuracy")
    legend = all_axes[0].get_legend_handles_labels()
    counts = ". ".join(
        f"{protocol}: {_range(table, protocol, 'windows')} windows; runs: {_range(table, protocol, 'runs')}; "
        f"classes: {_range(table, protocol, 'classes')}"
        for protocol, _ in protocols
    )
    caption = f"Accuracy: share of windows whose regime is named rightly; each point one classification, number: their mean. {counts[0].upper()}{counts[1:]}."
    return style.finish(made, _classification_title(table), caption, note, legend)


def _once(axes: Axes, label: str) -> str:
    """`label` the first time it is used in this panel, afterwards a name that legends leave out."""
    return "_" + label if label in axes.get_legend_handles_labels()[1] else label


def _accuracy(axes: Axes, x: int, rows: pd.DataFrame, published: bool) -> None:
    if rows.empty:
        return
    mean, top = rows["null_mean"].mean(), rows["null_95"].mean()
    axes.bar(
        x, top, 0.62, color="#e8e8e8", zorder=0, label=_once(axes, "labels permuted: up to 95 % of draws")
    )
    axes.plot(
        [x - 0.31, x + 0.31],
        [mean, mean],
        c=style.GREY,
        lw=1.2,
        zorder=1,
        label=_once(axes, "labels permuted: mean"),
    )
    majority = rows["majority"].mean()
    axes.plot(
        [x - 0.36, x + 0.36], [majority] * 2, c="k", ls=(0, (2, 1.5)), lw=0.9, zorder=2,
        label=_once(axes, "always the commonest class"),
    )  # fmt: skip
    spread = np.linspace(-0.16, 0.16, len(rows)) if len(rows) > 1 else np.zeros(1)
    state = "state" in str(rows["features"].iloc[0])
    axes.plot(
        x + spread, rows["accuracy"], "o", c=style.BLUE, mfc=style.BLUE if state else "white", ms=5, mew=1, zorder=3,
        label=_once(axes, "accuracy"),
    )  # fmt: skip
    axes.annotate(
        f"{rows['accuracy'].mean():.2f}", (x + spread[-1], rows["accuracy"].mean()), xytext=(6, 0),
        textcoords="offset points", va="center", fontsize=8, fontweight="bold",
    )  # fmt: skip


def _range(table: pd.DataFrame, protocol: str, column: str) -> str:
    values = table.loc[table["protocol"] == protocol, column].astype(int)
    return f"{values.min()}" if values.min() == values.max() else f"{values.min()}–{values.max()}"


def _classification_title(table: pd.DataFrame) -> str:
    """What the state channels add, by each protocol."""
    means = table.groupby(["protocol", "features"])["accuracy"].mean().unstack("features")
    columns = (
        [name for name in means if "state" not in str(name)],
        [name for name in means if "state" in str(name)],
    )
    if not all(columns):
        return "Telling regimes apart from windows of the log"
    without, with_state = means[columns[0][0]], means[columns[1][0]]
    parts: list[str] = []
    for protocol, words in (("clean", "With whole runs left out"), ("published", "the published way")):
        if protocol in means.index:
            difference = with_state[protocol] - without[protocol]
            parts.append(
                f"{words}, state channels change accuracy by {signed(difference)} ({without[protocol]:.2f} → "
                f"{with_state[protocol]:.2f})"
                if not parts
                else f"{words} by {signed(difference)} ({without[protocol]:.2f} → {with_state[protocol]:.2f})"
            )
    title = "; ".join(parts)
    return title[0].upper() + title[1:]
