"""The figure of experiments/update_network.py: what the finished update network does with each of its inputs."""

from matplotlib.axes import Axes

from experiments import update_probe, update_rows
from experiments.kit import marks, style
from experiments.kit import panels as draw
from experiments.kit.style import Look
from experiments.kit.tables import Tables

POINTS = 25  # of a sensitivity curve, as published
LOOKS = {name: style.condition(name) for name in ("self_calm", "self", "self_random")}
INPUTS = {
    "loss": Look("loss", style.VERMILLION),
    "entropy": Look("entropy", style.BLUE, (0, (4, 1.6)), "s"),
    "top1": Look("top1", style.GREEN, (0, (1, 1.2)), "^"),
    "grad_norm": Look("grad_norm", style.BLACK, (0, (6, 1.5, 1, 1.5)), "D"),
    "progress": Look("progress", style.PURPLE, "-", "v", 0.9),
}

VARIED = draw.lines(
    "update_sensitivity", "bias_norm_change", "one input varied", "change of the bias's norm (L2)", along="point", by="input",
    where={"condition": "self_random"}, bands=True, zero=True,
)  # fmt: skip


def varied(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
    """One input through its range, with a legend of its own."""
    if not VARIED.draw(axes, tables, INPUTS):
        marks.not_measured(axes, "not measured: that takes self_random")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.5 * (high - low))  # room for the names, which else lie on the bands
    axes.legend(*marks.handles(INPUTS.values(), "line"), loc="upper left")
    axes.set_xticks([0, (POINTS - 1) / 2, POINTS - 1], ["5", "50", "95"])
    axes.set_xlabel("place in the input's range (%)")
    return []


FIGURE = draw.sheet(
    "update-network.png",
    [
        draw.points("update_replay", "movement_share", "finished network",
                    "movement of the state\n(share of the logged movement)", upright=False, levels=(1,)),
        draw.Panel(("update_sensitivity",), varied),
        draw.points("update_gradients", "share", "gradient × input's spread", "share of the sum",
                    across="input", order=INPUTS, upright=False),
        draw.points("update_ablation", "proposal_change", "inputs held: proposal", "change of the proposal (L2)",
                    across="frozen", order=INPUTS, upright=False),
        draw.points("update_gradients", "norm_correlation", "proposal's norm × input", "Pearson correlation",
                    across="input", order=INPUTS, upright=False),
        draw.points("update_ablation", "relative_change", "inputs held: path",
                    "change of the replayed path\n(share of its movement)", across="frozen", order=INPUTS, upright=False,
                    levels=(1,)),
        draw.points("update_correlations", "rho", "drift × input's change", "Spearman correlation", across="input",
                    order=INPUTS, where={"of": "change", "series": "detrended"}, upright=False, levels=("null_95",)),
        draw.points("update_probe", "balanced_accuracy", "regime told in runs left out", "balanced accuracy",
                    across="features", order=update_probe.FEATURES, upright=False, levels=("null_mean", "null_95")),
        draw.points("update_probe_rows", "balanced", "as published: regime or\nbaseline, single steps", "balanced accuracy",
                    across="features", order=update_rows.FEATURES, where={"task": update_rows.EITHER}, upright=False,
                    levels=("shuffled_balanced",)),
    ],
    grid=(3, 3), height=9.4, looks=LOOKS, title=("replayed", "trained"), marks="points", columns=3,
    shows="How the finished update network reads each statistic: what a replay with it makes of the state's path, "
    "sensitivity, gradients, inputs held at their baseline, norm of the proposal and drift against inputs, and two probes of its "
    "hidden units.",
    caption="The network as it was after the last step, fed the statistics of the whole run. Points: seeds; bars: mean and, "
    "from three seeds on, 95 % t interval. Baseline: mean of the steps without regime. Movement: root mean square distance of a "
    "path from its own mean, after warm-up; dotted: as far as the log. Inputs held: at their baseline. One input varied: through the range it had (5th to 95th "
    "percentile), the others at their baseline, self_random. Drift: Spearman, slow trends taken off; dotted: 95 % of absolute "
    "correlations under circular shifts. Regime told in runs left out: dotted: regimes permuted between stretches, mean, and "
    "95 % of draws below. As published: steps of one run, random folds, logistic regression; dotted: labels shuffled.",
)  # fmt: skip
