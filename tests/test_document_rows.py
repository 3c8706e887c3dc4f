"""Every row of the published document's tables beside ours."""

from pathlib import Path

import pandas as pd

from experiments.kit import published
from experiments.kit.stats import Estimate
from reports import claims, document_rows, parts


def test_every_row_of_the_document_has_its_sign_judged_by_the_whole_interval() -> None:
    def of(low: float, high: float, n: int = 8) -> Estimate:
        return Estimate(n, (low + high) / 2, low, high, 0.01)

    assert (
        document_rows.sign(0.27, of(0.1, 0.3))
        == document_rows.sign(-0.05, of(-0.3, -0.1))
        == document_rows.SAME
    )
    assert document_rows.sign(-0.05, of(0.1, 0.3)) == document_rows.OTHER
    assert (
        document_rows.sign(0.27, of(-0.1, 0.3))
        == document_rows.sign(0.27, of(0.1, 0.3, 2))
        == document_rows.UNSETTLED
    )


def test_no_row_of_the_document_is_left_out(tmp_path: Path) -> None:
    seeds = range(1, 4)
    deltas = [
        {"suite": "shakespeare", "condition": name, "seed": seed, "regime": regime, "metric": metric,
         "delta": (2 * said if name == "self" else said) + 0.0001 * seed * seed * (name == "self")}
        for regime, metrics in published.REGIME_DELTAS.items()
        for metric, said in metrics.items()
        for name in ("self", "self_calm")
        for seed in seeds
    ]  # fmt: skip
    weights = {
        "suite": "shakespeare",
        "condition": "self_calm",
        "run_step": 1000,
        "protocol": "replication",
        "finder": "dimension",
    }
    frozen = [
        {**weights, "seed": seed, "state": state, "magnitude": 0.3, "entropy": 2.0, "nll": 2.0, "ece": 0.1, "delta_nll": 0.0,
         "kl": 0.1, "sign_consistency": 1.0, "delta_entropy": said + 0.001 * seed}
        for state, said in published.FROZEN_DELTA_ENTROPY.items()
        for seed in seeds
    ]  # fmt: skip
    effects = [
        {**weights, "seed": seed, "reader": reader, "effect_size": size}
        for reader, size in (("learned", 0.35), ("rotated", 0.3), ("untrained", 0.31))
        for seed in seeds
    ]
    (tmp_path / "shakespeare").mkdir()
    for name, rows in (("regime_deltas", deltas), ("frozen_conditions", frozen), ("frozen_effects", effects)):
        pd.DataFrame(rows).to_csv(tmp_path / "shakespeare" / f"{name}.csv", index=False)
    section = document_rows.rows_of_the_document(parts.Tables(tmp_path, "claims", claims.COLUMNS))
    lines = section.text().splitlines()
    for regime, metrics in published.REGIME_DELTAS.items():
        for metric in metrics:
            (line,) = [
                one for one in lines if one.startswith(f"| {regime}, {document_rows.METRICS[metric]} |")
            ]
            assert line.endswith(f"| {document_rows.SAME} | 3 |"), line
    (heat,) = [one for one in lines if one.startswith("| lr_heatwave, loss |")]
    assert (
        "| −0.010 | −0.020 [" in heat and "| −0.010 [" in heat
    )  # ours, and what is left beside the calm run
    (random,) = [one for one in lines if one.startswith("| frozen weights, random |")]
    assert "+0.040 ± 0.100" in random
    assert (
        "3 of 3 learned readers lie above that, and 0 % of the rotated placebo readers, 100 % of the untrained"
        in section.text()
    )
