"""The published monitor's numbers, alarms that are planted, and alarms that mean nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments import lead_lag
from experiments.kit import published
from experiments.kit.stats import correlation
from experiments.kit.tables import CALM
from experiments.monitoring import (
    EVENTS,
    WITHIN,
    back,
    follows,
    lagged,
    monitoring,
    recovery,
    settled,
    warned,
)
from tests import reference
from tests.made_runs import MadeRun, cells, context, made_run, page_of, regimes_of, verdict

# What the published script printed of that log: its file of monitoring, run self-regimes, seed 42.
PRINTED = {
    "loss": (1 / 9, 0.1976284584980237, 253),
    "entropy": (0.14666666666666667, 0.24206349206349206, 252),
}
LAGS = {
    "loss": {-50: -0.49756905419947817, 0: -0.3335553688313345, 50: -0.2571415823926244},
    "entropy": {-50: -0.5098739281024431, 0: -0.4000722543693038, 50: -0.2777589222265186},
}
RECOVERED = {"bewilderment": 2, "false_feedback": 0, "lr_heatwave": 0, "self_clamp": 202, "sensory_fog": 0}


def published_run() -> MadeRun:
    return made_run("self", 42, reference.log("selfreg0_s42"), None)


def test_numbers_are_those_that_the_published_script_printed() -> None:
    found = monitoring(context([published_run()])).set_index("event")
    assert (found["alarms"] == 450).all() and (found["monitor"] == "prompt_effect").all()
    log = reference.log("selfreg0_s42")
    for event, (precision, recall, events) in PRINTED.items():
        row: Any = found.loc[event]
        assert (row["precision"], row["recall"], row["events"]) == pytest.approx((precision, recall, events))
        by_lag = lagged(log[["prompt_effect"]].to_numpy().T, log[EVENTS[event]].to_numpy())[0]
        for lag, value in LAGS[event].items():
            assert by_lag[WITHIN + lag] == pytest.approx(value, abs=1e-6)
        assert row["correlation_now"] == pytest.approx(LAGS[event][0], abs=1e-6)
    assert found.loc["loss", "lag"] == -50 and found.loc["entropy", "lag"] == -49


def test_recovery_is_the_published_one(tmp_path: Path) -> None:
    found = recovery(context([published_run()]))
    assert dict(zip(found["regime"], found["steps"], strict=True)) == RECOVERED
    drift = found.set_index("regime")["drift"]
    assert drift["bewilderment"] == pytest.approx(0.031023356914520264, abs=1e-7)
    assert follows(found, "drift", correlation)[42] == pytest.approx(0.2326257502968871, abs=1e-6)
    assert follows(found, "effect", correlation)[42] == pytest.approx(-0.12309307044706741, abs=1e-6)
    first = (
        found.sort_values("regime")["steps"].rank(method="first"),
        found.sort_values("regime")["drift"].rank(),
    )
    assert correlation(*first) == pytest.approx(
        0.4
    )  # printed, too: of three equal times the first in the alphabet is first
    assert follows(found)[42] == pytest.approx(0.3354101966249684)  # equal times share a rank
    assert set(RECOVERED) - set(settled(found)["regime"]) == {"self_clamp"}  # bewilderment begins at its end
    seeds = pd.concat([found.assign(seed=seed) for seed in (1, 2, 3)])
    page = page_of(
        lead_lag.EXPERIMENT,
        tmp_path / "a",
        {"recovery": seeds.assign(steps=seeds["steps"] * (seeds["steps"] > 2))},
    )
    assert page.findings["recovery"].title() == "No recovery time can be told apart."
    assert "at the end of `self_clamp` another begins" in page.findings["recovery"].evidence
    assert cells(page, "`self_clamp`, `self`")[1] == "–"
    seeds["steps"] = 100 * seeds["drift"] + seeds["seed"]
    page = page_of(lead_lag.EXPERIMENT, tmp_path / "b", {"recovery": seeds})
    assert verdict(page, "the longer the loss takes to recover") == "Clear"


def a_log(seed: int, ahead: int | None, steps: int = 1500) -> pd.DataFrame:
    """A log whose loss spikes for five steps every 250 or so, and whose monitors fall `ahead` steps before, or at any time."""
    random = np.random.default_rng(seed)
    made = pd.DataFrame({"step": range(steps), "regime": regimes_of(steps, [("sensory_fog", 700, 800)])})
    for name in ("loss", "entropy_last", "prompt_effect", "grad_norm", "state_ema_drift"):
        made[name] = random.normal(0, 0.01, steps)
    spikes = np.arange(180, steps - 50, 250) + random.integers(-40, 40, 6)
    falls = spikes - ahead if ahead is not None else random.integers(60, steps - 60, 6)
    for spike, fall in zip(spikes, falls, strict=True):
        made.loc[spike : spike + 4, ["loss", "entropy_last"]] += 3
        made.loc[fall : fall + 9, ["prompt_effect", "grad_norm"]] -= 3
    return made


def runs_of(ahead: int | None, rival: int | None, seeds: int = 4) -> list[MadeRun]:
    return [
        made_run(name, seed, a_log(10 * seed + len(name), when), None, self_state={"enabled": name == "self"})
        for seed in range(1, seeds + 1)
        for name, when in (("self", ahead), ("vanilla", rival))
    ]


def test_planted_warnings_are_found_and_others_are_not_beyond_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "EFFECT_EVERY", 1)
    table = monitoring(context(runs_of(20, None)))
    of_loss = table[table["event"] == "loss"].set_index("condition")
    own: Any = of_loss.loc["self"]
    assert (own["precision"] == 1).all() and (own["recall"] == 1).all() and (own["p_recall"] < 0.02).all()
    assert own["lead"].tolist() == pytest.approx([15.5] * 4)  # the fall lasts for ten steps
    assert own["lag"].between(14, 21).all()
    assert [*table["monitor"].unique()] == ["prompt_effect", "grad_norm"]
    page = page_of(lead_lag.EXPERIMENT, tmp_path, {"monitoring": table})
    assert verdict(page, "warns of spikes") == verdict(page, "gradient norm of a model") == "Clear"
    shares, lags = (line for line in page.splitlines() if line.startswith("| `loss`, `self`"))
    assert "| 1.000 [1.000, 1.000] |" in shares and lags.split(" | ")[1] == "17"
    page = page_of(
        lead_lag.EXPERIMENT, tmp_path / "b", {"monitoring": monitoring(context(runs_of(None, 20)))}
    )
    assert verdict(page, "warns of spikes") == verdict(page, "gradient norm of a model") == "Not clear"


def test_an_event_at_the_edge_of_the_window_counts_and_one_beyond_does_not() -> None:
    calm = np.ones(400, bool)
    for wait, share in ((0, 1.0), (WITHIN, 1.0), (WITHIN + 1, 0.0), (-1, 0.0)):
        monitor, metric = np.zeros((1, 400)), np.zeros(400)
        monitor[0, 200], metric[200 + wait] = -1, 1
        found = warned(monitor, metric, calm)
        assert (found["precision"][0], found["recall"][0]) == (share, share)
        assert np.isnan(found["lead"][0]) if not share else found["lead"][0] == wait
    still = warned(np.zeros((1, 400)), np.zeros(400), calm)
    assert np.isnan(still["precision"][0]) and np.isnan(still["recall"][0]) and still["correlation"][0] == 0


def test_the_loss_is_back_when_it_stays_for_five_steps() -> None:
    calm = np.ones(60, bool)
    calm[20:30] = False
    loss = np.where(np.arange(60) % 2 == 0, 1.0, -1.0) * 0.5
    loss[:4] = (3, -3, 3, -3)
    loss[20:33], loss[35] = 9, 9
    assert back(loss, calm, 30) == 6 and back(loss, calm, 20) == 16
    assert np.isnan(back(loss, calm, 58)) and np.isnan(back(np.where(np.arange(60) < 50, loss, 99), calm, 50))


def test_calm_runs_are_looked_at_in_the_windows_of_the_others(tmp_path: Path) -> None:
    timed = a_log(1, 20)
    runs = [
        made_run("self", 1, timed, None),
        made_run("self_calm", 1, a_log(2, 20).assign(regime=CALM), None),
    ]
    found = recovery(context(runs))
    assert set(found["timed_by"]) == {"self"} and found["start"].tolist() == [700, 700]
    assert len(monitoring(context(runs))) == 2  # a run without regimes has nothing to warn of
    assert monitoring(context([])).empty and recovery(context([])).empty
    alone = [made_run("self_calm", 1, timed.assign(regime=CALM), None)]
    assert recovery(context(alone)).empty
