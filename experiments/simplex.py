"""Beliefs over hidden states as points of a simplex, true ones and those that are found in a stream. See geometry.py."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon

from experiments.kit import panels as draw
from experiments.kit import style
from experiments.kit.marks import not_measured
from experiments.kit.tables import Tables

TRUE, FOUND = "true", "found"
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])  # of a triangle, one a state
COLOURS = np.array([to_rgb(one) for one in (style.BLUE, style.VERMILLION, style.YELLOW, style.GREEN, style.PURPLE, style.SKY, style.ORANGE, style.BLACK)])  # fmt: skip
MARKERS = "osD^vPX*"  # of the likeliest state
STAGES = 5  # of training, side by side


def beliefs_at(
    tables: Tables, process: str, step: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and found beliefs (n, S) of a process at a step, None being the last, and their weights (n,)."""
    rows = tables.rows("geometry_points", condition=process)
    if rows.empty:
        return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0)
    rows = rows[rows["step"] == (rows["step"].max() if step is None else step)]
    rows = rows.sort_values("weight", ascending=False)
    have = [column for column in map(str, rows) if column.startswith(TRUE) and rows[column].notna().all()]
    states = [column.removeprefix(TRUE) for column in have]
    true, found = (rows[[kind + state for state in states]].to_numpy(float) for kind in (TRUE, FOUND))
    return true, found, rows["weight"].to_numpy(float)


def projection(true: np.ndarray, weight: np.ndarray, pair: int) -> np.ndarray:
    """Where each state's corner lies in the plane, (S, 2): of three states a triangle; of more, two principal components of the
    beliefs, the first two for pair 0, the next two for pair 1."""
    if true.shape[1] == len(CORNERS):
        return CORNERS
    away = true - np.average(true, axis=0, weights=weight)
    axes = np.linalg.eigh((away * weight[:, None]).T @ away)[1][:, ::-1][:, 2 * pair : 2 * pair + 2]
    signs = np.sign(axes[np.abs(axes).argmax(0), [0, 1]])  # eigenvectors have none of their own
    return np.asarray(axes * signs)


def simplex(
    process: str, kind: str, title: str, pair: int = 0, size: float = 1.0, stage: int | None = None
) -> draw.Panel:  # fmt: skip
    """Beliefs of a process, true or found, each coloured by the true one; likelier histories larger.

    stage: one of STAGES of the training; None, its end.
    """

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        at: int | None = None
        name = title
        if stage is not None:
            steps = sorted(set(tables.rows("geometry_points", condition=process)["step"]))
            at = int(steps[round(stage * (len(steps) - 1) / (STAGES - 1))]) if steps else None
            name = f"step {at}" if steps else ""
        true, found, weight = beliefs_at(tables, process, at)
        axes.set_axis_off()
        if not len(true):
            not_measured(axes, "not measured")
            return []
        corners = projection(true, weight, pair)
        places = (true if kind == TRUE else found) @ corners
        colours = np.clip(true @ COLOURS[: true.shape[1]], 0, 1)
        shares = np.sqrt(weight / weight.max())
        likeliest = true.argmax(1)
        for state, marker in enumerate(MARKERS[: true.shape[1]]):
            here = likeliest == state
            look = {"s": size * (1.6 + 26.0 * shares[here]), "c": colours[here], "lw": 0, "alpha": 0.75}
            axes.scatter(*places[here].T, marker=marker, zorder=2, **look)
        around = true @ corners
        if len(corners) == 3:
            axes.add_patch(Polygon(corners, closed=True, fill=False, ec=style.LIGHT, lw=0.8, zorder=1))
            around = corners
        low, high = around.min(0), around.max(0)
        room = (0.08 if len(corners) == 3 else 0.3) * (high - low).max()
        axes.set(xlim=(low[0] - room, high[0] + room), ylim=(low[1] - room, high[1] + room), aspect="equal")
        axes.set_title(name)
        return [process]

    return draw.Panel(["geometry_points"], make)


def both(process: str, pair: int = 0, size: float = 1.0, said: str = "") -> list[draw.Panel]:
    """The belief and what is found of it, side by side."""
    return [
        simplex(process, TRUE, f"{process}: an ideal observer's belief{said}", pair=pair, size=size),
        simplex(process, FOUND, f"{process}: found in the stream{said}", pair=pair, size=size),
    ]
