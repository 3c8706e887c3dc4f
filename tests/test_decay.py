"""The sweep of the decay: means over regimes of absolute and signed changes, and what the page says of planted ones."""

from pathlib import Path

import pandas as pd
import pytest

from base.storage import ROOT
from configs.suite import load_suite
from experiments.decay import EXPERIMENT, LOOKS, decay_summary
from experiments.kit.runs import Context
from tests.made_runs import drawn_of, page_of, title_of, verdict

SUITE = load_suite(ROOT / "configs" / "decay.toml")


def tables(seeds: int = 4, gain: float = 0.1) -> dict[str, pd.DataFrame]:
    """Drift moves by as much as the place of the condition, up in one regime and down in the other; the loss by one."""
    deltas: list[dict] = []
    runs: list[dict] = []
    for place, condition in enumerate(LOOKS, 1):
        for seed in range(1, seeds + 1):
            head = {"suite": "decay", "condition": condition, "seed": seed}
            wobble = 0.001 * seed * place
            runs.append({**head, "heldout_loss": 2.0 - gain * place + wobble})
            for regime, sign in (("bewilderment", 1), ("self_clamp", -1)):
                for metric, delta in (("state_ema_drift", sign * (place + wobble)), ("prompt_effect", sign * 0.5), ("loss", 1.0),
                                      ("entropy_last", sign * 2.0), ("top1_last", 0.0), ("grad_norm", 9.0)):  # fmt: skip
                    deltas.append({**head, "regime": regime, "metric": metric, "delta": delta})
    return {
        "decay_summary": decay_summary(Context(SUITE, []), pd.DataFrame(deltas), pd.DataFrame(runs)),
        "regime_deltas": pd.DataFrame(deltas),
        "runs": pd.DataFrame(runs),
    }


def test_sizes_are_absolute_and_means_keep_their_sign() -> None:
    row = tables()["decay_summary"].set_index(["condition", "seed"]).loc["decay_0_5"].iloc[0]
    assert row["drift"] == pytest.approx(3.003) and row["effect"] == pytest.approx(0.5)
    assert (row["loss"], row["entropy"], row["top1"], row["new"]) == (1.0, 0.0, 0.0, "50 %")


@pytest.mark.parametrize(("gain", "same"), [(0.1, "Not clear"), (0.0, "Clear"), (-0.1, "Not clear")])
def test_the_page_says_what_was_planted(gain: float, same: str, tmp_path: Path) -> None:
    made = tables(gain=gain)
    text = page_of(EXPERIMENT, tmp_path, {name: made[name] for name in ("decay_summary", "regime_deltas")})
    assert verdict(text, "the same held-out loss") == same
    assert (
        "**While half of the targets are replaced, a state that takes 80 % of each proposal moves further"
        in text
    )
    assert "**Under the clamp a state that takes 80 % of each proposal moves less far" in text


@pytest.mark.parametrize("seeds", [1, 4])
def test_the_figure_draws(seeds: int, tmp_path: Path) -> None:
    made = {"decay_summary": tables(seeds)["decay_summary"]}
    drawing = drawn_of(EXPERIMENT.figures[0], tmp_path, made, "decay")
    said = (
        "How much of each proposal a state takes may matter"
        if seeds > 2
        else "Not settled: Whether a state takes 5 %"
    )
    assert title_of(drawing).startswith(said)
