"""The figure of experiments/update_network.py: which inputs make the state's path, and what hidden units tell."""

from experiments import update_probe
from experiments.kit import panels as draw
from experiments.kit import style

LOOKS = {name: style.condition(name) for name in ("self_calm", "self", "self_random")}
HELD = {
    "loss": "loss",
    "entropy": "entropy",
    "top1": "top-1 confidence",
    "grad_norm": "gradient norm",
    "progress": "progress",
    "all but progress": "all but progress",
    "all": "all",
}
FIGURE = draw.sheet(
    "update-network.png",
    [
        draw.points("update_ablation", "relative_change", "one input held at its mean", "change of the replayed path\n(share of its movement)",
                    across="frozen", order=HELD, said=HELD, upright=False, levels=(1,)),
        draw.then(
            draw.points("update_probe", "balanced_accuracy", "regime told in an unseen run", "balanced accuracy", across="features",
                        order=update_probe.FEATURES, upright=False, levels=("null_mean", "null_95")),
            lambda axes, _: axes.set_xlim(0, 1),
        ),
    ],
    grid=(1, 2), height=4.2, looks=LOOKS, title=("statistics",), marks="points", columns=3,
    shows="The finished update network: what holding each input does to the replayed path, and what its hidden units tell of the regime.",
    caption="The network after the last step, fed the statistics of the whole run. One point a seed, mean and 95 % t interval. Left, dotted: as far "
    "as the path itself moves. Right, dotted: regimes permuted between stretches of a run, mean and 95 % of draws.",
)  # fmt: skip
