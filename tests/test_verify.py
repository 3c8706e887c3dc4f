"""Checking committed tables against a fresh run: what is compared, what counts as agreement, what is told."""

import io
import shutil
import statistics
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from base import storage
from base.storage import ROOT, UserError
from configs.suite import load_suite
from experiments.kit import tables as files
from scripts import measure_tolerance, run_all
from study import agreement, phases, publish, run_card, session, verify
from study.request import Request
from study.runner import Runner
from tests.least import TEXT
from tests.tiny_study import SUITE, Here

COMMON = ("suite", "condition", "seed")


@pytest.fixture
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (session, verify):
        monkeypatch.setattr(module, "Runner", partial(Runner, executor=lambda count: Here()))


def request(folder: Path, name: str, *overrides: str, seeds: int | None = None) -> Request:
    plain = {"only": (), "quick": False, "jobs": 1, "force": False, "publish": False}
    return Request(out=folder / name, config=folder / "tiny.toml", overrides=overrides, seeds=seeds, **plain)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny study of two seeds, and `results` as publishing leaves them."""
    folder = tmp_path_factory.mktemp("study")
    storage.write_text(folder / "texts" / "tiny_text" / "input.txt", TEXT)
    storage.write_text(folder / "texts" / "more_text" / "input.txt", TEXT)
    storage.write_text(folder / "tiny.toml", SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTEROCEPTION_DATA", str(folder / "texts"))
        patch.setattr(session, "Runner", partial(Runner, executor=lambda count: Here()))
        patch.setattr(session, "made_kinds", lambda chosen: frozenset({"table", "note"}))
        assert session.run(request(folder, "out", seeds=2)) == 0
        patch.setattr(phases, "suite_names", lambda: frozenset({"tiny"}))
        publish.publish(folder / "out", folder / "root")
    card = folder / "out" / "report" / "tiny" / run_card.FILE
    storage.copy_file(card, folder / "root" / "docs" / "results" / run_card.FILE)
    (folder / "root" / "docs" / "results").rename(folder / "results")
    return folder


def copy(published: Path, to: Path) -> Path:
    shutil.copytree(published / "results", to)
    return to


def change(path: Path, row: int, column: str, value: str) -> str:
    """Put another value into a table. Returns the one that was there."""
    table = texts(path)
    before = str(table.loc[row, column])
    table.loc[row, column] = value
    path.write_text(table.to_csv(index=False, lineterminator="\n"), encoding="utf-8")
    return before


def texts(path: Path) -> pd.DataFrame:
    """A table as it is written."""
    return files.read(path.parent.parent, path.parent.name, path.stem, texts=True)


# Which rows belong together


def frame(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def test_rows_are_told_by_their_leading_columns() -> None:
    doses = "suite,condition,seed,direction,magnitude,entropy\na,x,1,up,-0.1,2.0\na,x,1,up,0.1,2.1\na,x,2,up,-0.2,2.3\n"
    table = frame(doses)
    assert agreement.telling(table) == ["suite", "condition", "seed", "direction"]
    assert list(agreement.placed(table, agreement.telling(table)).index.get_level_values("row")) == [0, 1, 0]
    runs = frame("suite,condition,seed,key,steps\na,x,1,ab,9\na,x,2,cd,9\na,y,1,ef,9\n")
    assert agreement.telling(runs) == list(COMMON)
    assert agreement.telling(frame("suite,memory,seed,length,loss\na,m,1,long,1.5\n")) == ["suite", "seed"]


def table_of(values: dict[tuple[str, int], float], column: str = "loss") -> pd.DataFrame:
    lines = [f"a,{condition},{seed},{value:.9g}" for (condition, seed), value in values.items()]
    return frame("\n".join([f"suite,condition,seed,{column}", *lines]) + "\n")


def test_the_spread_is_that_of_seeds_within_conditions() -> None:
    values = {("x", 1): 1.0, ("x", 2): 2.0, ("x", 3): 3.5, ("y", 1): 11.0, ("y", 2): 10.5, ("y", 3): 11.25}
    table = table_of(values)
    sd, freedom = agreement.spread(agreement.numbers(agreement.placed(table, COMMON))[["loss"]])
    variances = [statistics.variance([1, 2, 3.5]), statistics.variance([11, 10.5, 11.25])]
    assert sd["loss"].to_numpy() == pytest.approx(np.sqrt(np.mean(variances)))
    assert set(freedom["loss"]) == {4}


def test_limits_hold_for_draws_of_one_normal_distribution() -> None:
    random = np.random.default_rng(1)
    sd = pd.DataFrame({"loss": random.normal(size=(200_000, 5)).std(axis=1, ddof=1)})
    other = random.normal(size=200_000) - random.normal(size=200_000)
    limit = agreement.between_seeds(sd, sd * 0 + 4, 0.05)["loss"]
    assert (np.abs(other) > limit).mean() == pytest.approx(0.05, abs=0.002)
    assert agreement.between_seeds(sd[:1], sd[:1] * 0, 0.05).isna().all(axis=None)


# What counts as agreement


def compared(old: pd.DataFrame, new: pd.DataFrame, closeness: float = agreement.SEEDS) -> agreement.Agreement:
    return agreement.compare("a/t", old, new, ["1"], closeness)


SEEDS = {("x", 1): 2.01, ("x", 2): 2.03, ("x", 3): 1.98, ("x", 4): 2.0}


@pytest.mark.parametrize(
    ("value", "state"),
    [(2.01, "equal"), (2.02, "within"), (2.11, "unusual"), (4.0, "outside"), (float("nan"), "outside")],
)
def test_a_value_may_be_as_far_as_seeds_are(value: float, state: str) -> None:
    fresh = table_of({("x", 1): value}) if value == value else frame("suite,condition,seed,loss\na,x,1,\n")
    found = compared(table_of(SEEDS), fresh)
    assert (found.rows, len(found.cells), found.left_out) == (1, 1, 3)
    assert list(found.cells["state"]) == [state] and len(found.outside) == (state == "outside")
    exact = compared(table_of(SEEDS), fresh, agreement.EQUAL)
    assert len(exact.outside) == (state != "equal")


def test_where_only_rounding_differs_values_must_be_closer() -> None:
    fresh = table_of({("x", 1): 2.05})
    assert compared(table_of(SEEDS), fresh).count("within") == 1
    assert compared(table_of(SEEDS), fresh, agreement.ROUNDING).count("unusual") == 1


def test_whole_numbers_that_are_measured_may_be_alike_by_chance() -> None:
    lags = "suite,condition,seed,measure,peak_lag\n" + "".join(
        f"a,x,{seed},{measure},{value}\n"
        for measure, values in {"drift": (3, 3, 3), "norm": (10, 60, 40)}.items()
        for seed, value in enumerate(values, 1)
    )
    moved = lags.replace("a,x,1,drift,3", "a,x,1,drift,30")
    found = compared(frame(lags), frame(moved))
    assert (found.count("equal"), found.count("within", "unusual"), found.outside) == (1, 1, {})


def test_p_values_count_among_the_usual_alone() -> None:
    old = table_of({("x", 1): 0.001, ("x", 2): 0.002, ("x", 3): 0.0015}, "p_value")
    found = compared(old, table_of({("x", 1): 0.9}, "p_value"))
    assert (found.count("unusual"), found.outside) == (1, {})
    assert compared(old, table_of({("x", 1): 0.09}, "p_value")).count("within") == 1


@pytest.mark.parametrize("wrong", [9999.5, -1e30])
def test_a_value_far_off_does_not_widen_its_own_limit(wrong: float) -> None:
    for old, new in ((wrong, 2.01), (2.01, wrong)):
        found = compared(table_of({**SEEDS, ("x", 1): old}), table_of({("x", 1): new}))
        assert [text.partition(": ")[2].split()[0] for text in found.outside] == ["loss"]


def test_whole_numbers_that_no_seed_changes_must_be_equal() -> None:
    old = table_of({place: 800.0 for place in SEEDS}, "parameters")
    found = compared(old, table_of({("x", 1): 801.0}, "parameters"))
    assert list(found.outside) == [
        "a/t, condition x, seed 1: parameters 800 committed, 801 fresh, must be equal"
    ]


def test_the_worst_is_named_first() -> None:
    old = table_of({(name, seed): seed / 10 for name in "xyz" for seed in (1, 2, 3)})
    found = compared(old, table_of({("x", 1): 30.0, ("y", 1): 500.0, ("z", 1): 70.0}))
    assert [text.split()[2] for text in found.outside] == ["y,", "z,", "x,"]
    first, second, _ = found.outside.values()
    assert first > 5 * second > 0


def test_what_is_missing_is_outside_and_what_is_new_is_told() -> None:
    old = table_of({("x", 1): 1.5, ("y", 1): 1.5})
    found = compared(old, table_of({("x", 1): 1.5, ("z", 1): 1.5}))
    assert found.not_committed == 1
    assert list(found.outside) == ["a/t, condition y, seed 1: the row there committed, missing fresh"]
    gone = compared(old, pd.DataFrame())
    assert len(gone.outside) == 2
    lacking = compared(old, old.drop(columns="loss"))
    assert list(lacking.outside) == ["a/t, all rows: loss there committed, missing fresh"]


def test_times_are_never_compared_and_keys_only_where_all_must_be_equal() -> None:
    old = frame("suite,condition,seed,key,seconds\na,x,1,ab,9.5\n")
    new = frame("suite,condition,seed,key,seconds\na,x,1,cd,2.5\n")
    assert len(compared(old, new).cells) == 0
    exact = compared(old, new, agreement.EQUAL)
    assert list(exact.cells["column"]) == ["key"] and len(exact.outside) == 1


def test_what_is_pooled_over_seeds_is_compared_by_all_seeds_alone() -> None:
    old, new = frame("suite,metric,n,mean\na,loss,2,1.5\n"), frame("suite,metric,n,mean\na,loss,2,1.6\n")
    exact = compared(old, new, agreement.EQUAL)
    assert exact.pooled and exact.left_out == 1
    assert len(agreement.compare("a/t", old, new, None, agreement.EQUAL).outside) == 1
    assert agreement.compare("a/t", old, new, None, agreement.SEEDS).pooled


# How far another arithmetic moves results


def written(folder: Path, name: str, table: pd.DataFrame) -> None:
    storage.write_text(folder / "tables" / "tiny" / f"{name}.csv", table.to_csv(index=False))


def test_the_measurement_sets_differences_beside_those_of_seeds(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    places = [("tiny", "self", seed, step) for seed in (1, 2, 3) for step in range(60)]
    log = pd.DataFrame(places, columns=["suite", "condition", "seed", "step"])
    for metric in measure_tolerance.LOGGED:
        log[metric] = random.normal(size=len(log))
    moved = log[log["seed"] < 3].assign(loss=lambda rows: rows["loss"] + 0.25 * (rows["step"] >= 10))
    assert measure_tolerance.of_logs(log, moved, "loss", (1, 10, 60)) == pytest.approx(
        [0, 0, 0.25], abs=1e-12
    )
    assert measure_tolerance.of_seeds(log, "loss", (60,)) == pytest.approx([2 / np.sqrt(np.pi)], abs=0.15)
    deltas = pd.DataFrame({"suite": "tiny", "condition": "self", "seed": [1, 2, 3], "delta": [0.5, 1.5, 2.5]})
    for name, metrics, table in (
        ("one", log, deltas),
        ("other", moved, deltas.assign(delta=[0.5, 1.75, 2.5])),
    ):
        written(tmp_path / name, "metrics", metrics)
        written(tmp_path / name, "regime_deltas", table)
    one, other = (tmp_path / name / "tables" for name in ("one", "other"))
    found = measure_tolerance.of_tables(one, other, "tiny", agreement.SEEDS)
    assert list(found["distance"]) == [0, 0.25, 0]
    assert found["sd"].to_numpy() == pytest.approx([1.0, 1.0, 1.0], abs=0.02)
    storage.write_text(tmp_path / "tiny.toml", SUITE)
    suite = load_suite(tmp_path / "tiny.toml")
    names = {"reference": "one", "plain": "other"}
    page = measure_tolerance.page({name: tmp_path / folder for name, folder in names.items()}, suite)
    assert "the oldest instructions they know, 2 seeds." in page and "| loss | 0 | 0 | 0.25 |" in page
    assert "| `plain` | 3 | 66.7% | 0 |" in page


# The whole of it


@pytest.mark.usefixtures("_here")
def test_a_published_study_is_verified_and_a_changed_value_named(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INTEROCEPTION_DATA", str(published / "texts"))
    before = committed()
    assert verify.run(request(published, "check"), published / "results") == 0
    said = capsys.readouterr().out
    assert "suite tiny, seed 1: asked for equality to the digit" in said and ", 0 outside" in said
    assert "left out: " in said and "pooled over seeds: " in said and said.endswith("a fresh run gives\n")
    assert not (published / "check" / "figures" / "learning-curves.png").exists()
    assert committed() == before
    done = storage.read_json(published / "check" / verify.MARK)
    assert done["state"] == "done" and done["card"]["machine"]["instructions"]
    assert verify._at(done, "card", "runs", "finished") == 2

    # The same fresh tables, against committed ones of which one is packed, and then one has a changed value.
    whole = judged(published / "results", published / "check")[1]
    changed = copy(published, tmp_path / "changed")
    plain = changed / "tables" / "tiny" / "frozen_doses.csv"
    plain.with_suffix(".csv.gz").write_bytes(publish.packed(plain.read_bytes()))
    plain.unlink()
    again = judged(changed, published / "check")[1]
    assert verify.report([again], changed) == verify.report([whole], changed)
    for other in plain.parent.glob("*.csv*"):  # the rest has been compared
        if other.name not in ("regime_deltas.csv", "runs.csv"):
            other.unlink()
    path = changed / "tables" / "tiny" / "regime_deltas.csv"
    was = change(path, 3, "delta", "0.123456789")
    (reasons, verdict) = judged(changed, published / "check")
    assert reasons == () and verdict.outside == 1 and not verdict.holds
    text = verify.report([verdict], changed)
    assert "tiny/regime_deltas, condition self, seed 1, regime bewilderment, metric" in text
    assert f"delta 0.123456789 committed, {was} fresh" in text and text.endswith("NOT verified: tiny")

    # From another kind of processor it can't be asked that much.
    card = storage.read_json(changed / run_card.FILE)
    card["machine"]["instructions"] = ["sse2"]
    storage.write_sealed(changed / run_card.FILE, card)
    change(path, 3, "delta", was)
    table = texts(changed / "tables" / "tiny" / "runs.csv")
    near = f"{float(str(table.loc[0, 'heldout_loss'])) + 1e-9:.9f}"
    change(changed / "tables" / "tiny" / "runs.csv", 0, "heldout_loss", near)
    reasons, verdict = judged(changed, published / "check")
    assert reasons == ("other instruction sets",)
    assert verdict.holds and verdict.count("within") == 1
    change(changed / "tables" / "tiny" / "runs.csv", 0, "heldout_loss", "9999.5")
    assert not judged(changed, published / "check")[1].holds
    (changed / run_card.FILE).unlink()
    assert judged(changed, published / "check")[0] == ("no run card is committed beside the tables",)


def committed() -> dict[Path, int]:
    """Every file that publishing may write, with its time."""
    places = [ROOT / name for name in ("README.md", "docs", "figures")]
    files = [place for folder in places for place in (folder, *folder.rglob("*"))]
    return {path: path.stat().st_mtime_ns for path in files}


def judged(committed: Path, out: Path) -> tuple[tuple[str, ...], verify.Verdict]:
    card = storage.read_json(out / verify.MARK)["card"]
    reasons = verify.origins(verify._card(committed), card, "tiny")
    return reasons, verify.judge("tiny", committed, out, reasons)


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("train.steps=70",), "has 60 steps, here it would have 70"),
        (("corpus=more_text",), "was trained on tiny_text, which is not to be had here"),
        (("name=other",), "has no tables of other to check"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], said: str
) -> None:
    monkeypatch.setenv("INTEROCEPTION_DATA", str(published / "texts"))
    asked = request(published, f"refused-{len(said)}", *overrides)
    with pytest.raises(UserError, match=said):
        verify.run(asked, published / "results")
    assert not list((asked.out / "runs").glob("*"))


def test_only_a_folder_of_its_own_is_emptied(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "study" / "runs" / "precious", "")
    with pytest.raises(UserError, match="something else than a check"):
        verify.mark(tmp_path / "study")
    assert (tmp_path / "study" / "runs" / "precious").exists()
    out = tmp_path / "check"
    verify.mark(out)
    storage.write_text(out / "runs" / "half", "")
    verify.begin(out, afresh=False)  # an interrupted check goes on
    assert (out / "runs" / "half").exists()
    storage.write_json(out / verify.MARK, {"state": "done"})
    verify.mark(out)
    verify.begin(out, afresh=False)  # a finished one is done again from nothing
    assert not (out / "runs" / "half").exists() and (out / "logs").is_dir()
    assert storage.read_json(out / verify.MARK) == {"state": "begun"}


def test_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given, asked = run_all.parse(["--verify", "--quick"])
    assert given.verify == ROOT / "docs" / "results" and asked.out == Path("out/verify-quick")
    assert run_all.parse(["--verify", "--only", "memory"])[1].out == Path("out/verify")
    for other in ("--publish", "--status", "--list", "--dry-run"):
        with pytest.raises(UserError, match="--verify stands alone"):
            run_all.parse(["--verify", other])
    with pytest.raises(UserError, match="trains nothing"):
        run_all.main(["--verify", "--only", "figures"])
    with pytest.raises(UserError, match="has no tables of"):
        run_all.main(["--verify", str(tmp_path), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
