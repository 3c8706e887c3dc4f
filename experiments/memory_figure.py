"""The figures on memory: the parts of an update through a corruption of targets, and stability against leverage."""

from matplotlib.axes import Axes

from experiments.kit import marks, style
from experiments.kit import panels as draw
from experiments.kit.style import Look
from experiments.kit.tables import NothingToDraw, Tables

REGIME = "bewilderment"  # by which memories are compared
LOOKS: dict[str, Look] = {
    "none": Look("no memory", style.GREY, "-", "v", filled=False),
    "ema": Look("exponential average", style.ORANGE, (0, (1, 1.2)), "D"),
    "buffer_32": Look("32 past states", style.SKY, (0, (6, 1.5, 1, 1.5)), "^"),
    "buffer_64": Look("64 past states", style.BLUE, "-", "o"),
    "buffer_128": Look("128 past states", style.BLACK, (0, (4, 1.6)), "s"),
    "buffer_64_stride_5": Look("64, every 5 steps", style.GREEN, (0, (3, 1, 1, 1)), "P", filled=False),
    "buffer_64_stride_20": Look("64, every 20 steps", style.PURPLE, (0, (2, 1)), "X"),
}
DRAWN = {name: LOOKS[name] for name in ("none", "ema", "buffer_64", "buffer_128")}


def course(column: str, title: str, label: str) -> draw.Panel:
    """A part of the update, step by step, the regime grey."""
    log = column in ("mlp_norm", "memory_norm", "distance")

    def shaded(axes: Axes, tables: Tables) -> None:
        end = tables.rows("memory_dynamics")["length"].median()
        axes.axvspan(0, end, color=marks.DARKER, lw=0, zorder=-1)
        if column in ("gate", "memory_share"):
            axes.set_ylim(0, 1)

    panel = draw.lines(
        "memory_dynamics", column, title, label, along="middle", zero=column == "force", log=log
    )
    return draw.then(panel, shaded, along=column in ("gate", "distance", "force"))


def against(stability: str, x: str, outcome: str, y: str) -> draw.Panel:
    """A measure of stability and one of leverage, a point a seed and memory."""

    def tested(axes: Axes, tables: Tables) -> None:
        if tables.rows("memory_tradeoff")["leverage"].isna().all():
            raise NothingToDraw("memory_tradeoff has no frozen-weight test")

    lower = outcome != "leverage"
    panel = draw.scatter("memory_tradeoff", stability, outcome, x=x * lower, y=y, joined=True, zero=lower)
    return draw.then(panel, tested)


FIGURES = (
    draw.sheet(
        "memory/updates.png",
        [
            course("mlp_norm", "the network's part", "L2"),
            course("memory_norm", "the memory's part", "L2"),
            course("memory_share", "share of the memory", "share"),
            course("gate", "gate", "probability"),
            course("distance", "distance from before", "L2"),
            course("force", "pull back to there", "L2 a step"),
        ],
        grid=(2, 3), height=5.0, looks=DRAWN, title=("pull",), x="steps since the onset", marks="line", share_x=True,
        shows="The updates of each memory while targets are corrupted: the network's and the memory's part, gate, distance from where the "
        "state was, and the pull back to there.",
        caption="Lines: mean over seeds of means of 5 steps; faint: single seeds. Grey: half of the targets are random. Before: the mean state "
        "of the 50 steps before. Without memory there is no gate and no share.",
    ),
    draw.sheet(
        "memory/tradeoff.png",
        [
            against(stability, x, outcome, y)
            for outcome, y in (("leverage", "leverage (nats)"), ("leverage_over_placebo", "beyond placebo readers (nats)"))
            for stability, x in (("drift", "drift (L2 a step)"), ("displacement", "displacement (share of the state's length)"))
        ],
        grid=(2, 2), height=5.6, looks=DRAWN, title=("trade",), marks="points", share_x="col", share_y="row",
        shows="Stability while targets are corrupted against how far learned directions steer, every seed and memory a point, with and "
        "without what placebo readers reach.",
        caption="Small: seeds, joined by a grey line; large: means. Further left: stiller. Leverage: held-out effect of the frozen-weight test "
        "after the last step. Displacement: distance from the mean state of the 50 steps before, over its length.",
    ),
)  # fmt: skip
