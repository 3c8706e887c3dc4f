"""The quick form: one rule makes a small study of every suite, in which all that its runs are about still happens."""

from pathlib import Path

import pytest

import perturb
from base.storage import ROOT
from configs import probe, size, toml_file
from configs.run import RunConfig
from configs.suite import load_suite
from configs.toml_file import ConfigError
from configs.world import NoSchedule
from tests.hostile import TINY
from tests.test_config import SUITE, SUITES


def called(run: RunConfig) -> set[str]:
    """The regimes that a run's schedule names."""
    return set(run.decisive()["regimes"]) if run.schedule.kind != "none" else set()


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_regime_still_acts(path: Path) -> None:
    whole, quick = load_suite(path), load_suite(path, quick=True)
    assert quick.seeds == 1 and quick.conditions.keys() == whole.conditions.keys()
    for name in quick.conditions:
        run, before = quick.run(name, 1), whole.run(name, 1)
        assert run.last - run.first <= max(120, (before.last - before.first) // 20) or name == "subject"
        assert called(run) == called(before)
        if run.first == 0:
            assert called(run) <= {*perturb.regimes_by_step(run)[: run.last]}, name
        assert type(run.schedule) is type(before.schedule)
        if not isinstance(run.schedule, NoSchedule) and run.schedule.kind == "windows":
            assert len(perturb.windows(run)) == len(perturb.windows(before))


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_probe_is_short(path: Path) -> None:
    whole, quick = load_suite(path), load_suite(path, quick=True)
    for name, one in quick.probes.items():
        assert one.conditions == whole.probes[name].conditions
        for condition in one.conditions:
            run, before = quick.run(condition, 1), whole.run(condition, 1)
            quick_work, work = (
                of.passes(given) * size.step_gflop(given)
                for of, given in ((one, run), (whole.probes[name], before))
            )
            assert quick_work < 0.1 * work, (name, condition)


def test_only_what_the_rule_cannot_know_is_said_again() -> None:
    said = {path.name for path in SUITE.parent.glob("*.toml") if "quick" in toml_file.own(path).document}
    assert said == {"base.toml", "self_report.toml", "gpt2_small.toml", "floors_world.toml"}


def test_what_is_set_stays() -> None:
    given = ["train.steps=500", "model.n_embd=64", "probe.frozen.heldout_batches=7", "seeds=3"]
    suite = load_suite(SUITE, [*given, "signatures.permutations=50"], quick=True)
    run = suite.conditions["self"]
    assert (run.train.steps, run.model.n_embd, run.model.n_layer, suite.seeds) == (500, 64, 2, 3)
    assert perturb.windows(run)[-1] == ("bewilderment", 300, 350) and run.train.warmup_steps == 25
    assert suite.probes["frozen"].model_dump()["heldout_batches"] == 7
    assert (suite.signatures.permutations, suite.signatures.pre_steps) == (50, 10)
    assert load_suite(SUITE, ["quick.shorter=4"], quick=True).conditions["self"].train.steps == 500
    rates = load_suite(SUITE.with_name("recurring.toml"), ["schedules.recurring.enter=0.03"], quick=True)
    assert rates.conditions["direct"].schedule.model_dump()["enter"] == 0.03


def test_a_suite_that_is_smaller_stays_so(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_bytes((ROOT / "configs" / "base.toml").read_bytes())
    (tmp_path / "tiny.toml").write_text(TINY)
    whole, quick = (load_suite(tmp_path / "tiny.toml", quick=quick) for quick in (False, True))
    assert quick.conditions["self"] == whole.conditions["self"] and quick.signatures.permutations == 3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[quick]\nshorter = 0", "quick.shorter = 0 in .*x.toml, line 6"),
        ("[quick]\nmodel.n_layer = 'two'", "model.n_layer = 'two'"),
        ("[quick]\nmodle.n_layer = 2", "did you mean 'model'"),
        ("quick = 3", "no .quick. table"),
    ],
)
def test_a_wrong_quick_table_is_one_line(tmp_path: Path, more: str, said: str) -> None:
    (tmp_path / "base.toml").write_bytes((ROOT / "configs" / "base.toml").read_bytes())
    lines = "extends = 'base.toml'\nname = 'x'\nseeds = 1\n"
    text = (
        f"{lines}{more}\n[conditions.a]\n" if more.startswith("quick") else f"{lines}[conditions.a]\n{more}\n"
    )
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_suite(tmp_path / "x.toml", quick=True)
    assert "\n" not in str(caught.value)


def test_every_quick_value_fits_its_field() -> None:
    for name in probe.known():
        fields = probe.fields_of(name)
        quick = {
            key: of.json_schema_extra["quick"]
            for key, of in fields.model_fields.items()
            if isinstance(of.json_schema_extra, dict)
        }
        assert quick and fields.model_validate(quick, strict=False)
