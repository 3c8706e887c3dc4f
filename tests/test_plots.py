"""Every figure draws, from one seed or from many, says what its tables say, and is the same twice."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from base.storage import UserError
from experiments.kit import stats as kit_stats
from experiments.kit import style
from plots import classification, frozen, registry

EVERY = registry.FIGURES
ROOT = Path(__file__).resolve().parent.parent
CONDITIONS = ("self", "self_calm", "vanilla", "vanilla_calm", "self_random", "vanilla_random")


def _frozen(seeds: int, draws: int, gain: float) -> dict[str, pd.DataFrame]:
    """Tables of the frozen-weight test; learned effects are `gain` times a typical placebo's."""
    effects, conditions, doses, summary = [], [], [], []
    for seed in range(1, seeds + 1):
        for run_step in (1000, 2000):
            random = np.random.default_rng((4, seed, run_step))
            head = ("shakespeare", "self_calm", seed, run_step)
            for protocol, finder, size in (
                ("replication", "dimension", 0.22), ("heldout", "dimension", 0.2), ("heldout", "gradient", 0.45),
            ):  # fmt: skip
                learned = gain * size * float(np.exp(random.normal(0, 0.25)))
                effects.append((*head, protocol, finder, "learned", 0, learned, 0.3))
                for reader in ("rotated", "untrained"):
                    if finder == "gradient" and reader == "rotated":
                        continue
                    placebo = size * np.exp(random.normal(0, 0.3, draws))
                    effects += [
                        (*head, protocol, finder, reader, i, value, 0.3) for i, value in enumerate(placebo)
                    ]
                    p = (1 + int((placebo >= learned).sum())) / (1 + draws)
                    stats = (placebo.mean(), placebo.std(), placebo.max(), p)
                    summary.append((*head, protocol, finder, learned, reader, *stats))
                rest = (2.0, 2.0, 0.03, 0.0, 0.01, 0.9)
                for state, share in (("confident", -0.35), ("uncertain", 0.65)):
                    conditions.append(
                        (*head, protocol, finder, state, 0, 0.67, *rest[:3], share * learned, *rest[3:])
                    )
                for draw in range(50):
                    delta = random.normal(0.02, 0.06)
                    conditions.append(
                        (*head, protocol, finder, "random", draw, 0.67, *rest[:3], delta, *rest[3:])
                    )
            conditions.append(
                (*head, "heldout", "none", "own", 0, 0.25, 2.0, 2.0, 0.03, 0.05, 0.0, 0.01, 0.9)
            )
            conditions.append((*head, "heldout", "none", "zero", 0, 0.0, 2.0, 2.0, 0.03, 0.0, 0.0, 0.0, 1.0))
            top = 0.28 * np.exp(random.normal(0, 0.1))
            for direction, slope, bend in (
                ("confident", -0.3, 0.4), ("uncertain", 0.5, 0.5), ("gradient", 1.1, 0.8), ("random", 0.03, 0.25),
            ):  # fmt: skip
                steep = slope * np.exp(random.normal(0, 0.2))
                for magnitude in np.linspace(-top, top, 15):
                    delta = steep * magnitude + bend * magnitude**2
                    doses.append((*head, direction, magnitude, 2.0 + delta, 2.0 + delta, delta, delta))
    head_names = ["suite", "condition", "seed", "run_step"]
    condition_names = (
        "protocol finder state draw magnitude entropy nll ece delta_entropy delta_nll kl sign_consistency"
    )
    summary_names = "protocol finder effect placebo placebo_mean placebo_sd placebo_max p_value"
    return {
        "frozen_effects": pd.DataFrame(
            effects, columns=[*head_names, "protocol", "finder", "reader", "draw", "effect_size", "magnitude"]
        ),
        "frozen_effects_summary": pd.DataFrame(summary, columns=[*head_names, *summary_names.split()]),
        "frozen_conditions": pd.DataFrame(conditions, columns=[*head_names, *condition_names.split()]),
        "frozen_doses": pd.DataFrame(
            doses,
            columns=[*head_names, "direction", "magnitude", "entropy", "nll", "delta_entropy", "delta_nll"],
        ),
    }


def _classification() -> pd.DataFrame:
    """The clean way gives 0.56 without the state's channels and 0.61 with them."""
    rows = []
    for protocol, suffix, scores in (
        ("published", "", (0.97, 0.83, 0.95, 0.98)),
        ("clean", "_random", (0.3, 0.56, 0.6, 0.61)),
    ):
        for kind in ("self", "vanilla"):
            for features, score in zip(classification.ORDER, scores, strict=True):
                if kind == "self" or features != classification.STATE:
                    shown = score - 0.01 * (kind == "vanilla")
                    head = ("shakespeare", kind + suffix, protocol, features)
                    rows.append((*head, shown, shown, 0.2, 0.26, 1 / 201, 85, 8, 6, 0.235))
    names = "suite condition protocol features accuracy balanced_accuracy null_mean null_95 p_value windows runs classes majority"
    return pd.DataFrame(rows, columns=names.split())


def make_tables(seeds: int, draws: int = 20, gain: float = 1.0) -> dict[str, pd.DataFrame]:
    """A study's tables with known answers, equal for equal arguments."""
    runs = [(condition, seed) for condition in CONDITIONS for seed in range(1, seeds + 1)]
    return {
        "classification": _classification(),
        **_frozen(seeds, draws, gain),
        "runs": pd.DataFrame(
            [("shakespeare", condition, seed, "0" * 64, 400, 40.0, 1.9, "float32", "shakespeare_char", 804224) for condition, seed in runs],
            columns=["suite", "condition", "seed", "key", "steps", "seconds", "heldout_loss", "dtype", "corpus", "parameters"],
        ),
    }  # fmt: skip


def save(tables: Mapping[str, pd.DataFrame], folder: Path) -> Path:
    """Write tables as the pipeline does: `folder`/<suite>/<name>.csv."""
    (folder / "shakespeare").mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / "shakespeare" / f"{name}.csv", index=False)
    return folder


@pytest.fixture(autouse=True)
def only_core_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables here are those of the core figures; each topic's own figures are tested with it."""
    if "the_registry_names" not in request.node.name:
        monkeypatch.setattr(registry, "FIGURES", registry.CORE)


@pytest.fixture(scope="module")
def small() -> dict[str, pd.DataFrame]:
    """Three seeds."""
    return make_tables(3)


@pytest.fixture(scope="module")
def drawn(small: dict[str, pd.DataFrame]) -> dict[str, tuple[Drawing, bytes]]:
    """Every figure of `small` by name, and its PNG."""
    made = {}
    with style.context():
        for figure in registry.CORE:
            drawing = figure.draw({name: small[name] for name in figure.tables}, "a note")
            made[figure.name] = drawing, style.png_bytes(drawing)
    return made


@pytest.fixture(autouse=True)
def core(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of every suite; each further topic draws its own in its own test."""
    monkeypatch.setattr(registry, "FIGURES", registry.CORE)


def title_of(figure: Drawing) -> str:
    return " ".join(figure.texts[0].get_text().split())


def test_every_figure_draws_and_nothing_lies_on_anything(drawn: dict[str, tuple[Drawing, bytes]]) -> None:
    assert set(drawn) == {figure.name for figure in registry.FIGURES}
    for name, (figure, _) in drawn.items():
        assert figure.get_size_inches()[0] in (style.WIDE, style.COLUMN), name
        sizes = [
            part.get_fontsize() for part in figure.findobj(Text) if isinstance(part, Text) and part.get_text()
        ]
        assert all(float(size) >= 7 for size in sizes), name
        assert "a note" in " ".join(figure.texts[1].get_text().split()), name
        around = [part.get_window_extent() for part in (*figure.texts, *figure.legends)]
        panels = [box for axes in figure.axes if (box := axes.get_tightbbox())]
        for index, box in enumerate(around + panels):
            assert box.x0 > -2 and box.x1 < figure.bbox.width + 2, name
            assert box.y0 > -2 and box.y1 < figure.bbox.height + 2, name
            assert not any(_overlap(box, other) for other in (around + panels)[index + 1 :]), name


def _overlap(one: Bbox, other: Bbox, slack: float = 1.0) -> bool:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return bool(width > slack and height > slack)


def test_equal_tables_give_equal_bytes(
    drawn: dict[str, tuple[Drawing, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = tuple(figure for figure in registry.FIGURES if "early" not in figure.name)
    monkeypatch.setattr(registry, "FIGURES", some)
    tables = save(make_tables(3), tmp_path / "tables")
    written = registry.draw_all(tables, tmp_path / "figures", "shakespeare", "a note")
    names = [path.relative_to(tmp_path / "figures").as_posix() for path in written]
    assert names == [figure.name for figure in registry.FIGURES] and len(names) == 2
    for path, name in zip(written, names, strict=True):
        content = path.read_bytes()
        assert content == drawn[name][1], name
        assert content.startswith(b"\x89PNG") and b"Software" not in content and b"tIME" not in content


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_draw(seeds: int, tmp_path: Path) -> None:
    tables = save(make_tables(seeds, draws=3), tmp_path / "tables")
    said: list[str] = []
    written = registry.draw_all(tables, tmp_path / "figures", "shakespeare", "a note", said.append)
    assert len(written) == len(registry.FIGURES) and not said


def test_missing_and_empty_tables_are_named(small: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    some = {name: small[name] for name in ("classification", "frozen_effects", "frozen_conditions")}
    tables = save({**some, "frozen_doses": small["frozen_doses"].iloc[:0]}, tmp_path / "tables")
    said: list[str] = []
    written = registry.draw_all(tables, tmp_path / "figures", "shakespeare", "a note", said.append)
    assert [path.name for path in written] == ["classification.png"]
    assert len(said) == len(registry.FIGURES) - 1
    assert said[0].startswith("skipped frozen-weight-test.png: frozen_effects_summary.csv, frozen_doses.csv")
    assert registry.draw_all(tables, tmp_path / "figures", "other", "a note") == []


def test_a_table_without_a_column_is_refused(small: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    tables = save({"classification": small["classification"].drop(columns="null_95")}, tmp_path / "tables")
    with pytest.raises(UserError, match=r"classification.csv lacks the column null_95"):
        registry.draw_all(tables, tmp_path / "figures", "shakespeare", "a note")


def test_the_registry_names_tables_and_captions_once() -> None:
    names = [figure.name for figure in EVERY]
    assert len(set(names)) == len(names) > len(registry.CORE)
    for figure in EVERY:
        assert figure.caption.endswith(".")
        assert isinstance(figure, registry.Converted) or set(figure.tables) <= set(registry.COLUMNS)


def test_conditions_can_be_told_apart_without_colour() -> None:
    looks = list(style.CONDITIONS.values())
    for part in ("colour", "line", "marker"):
        same = [
            look for look in looks if part == "line" and look.line == "-"
        ]  # self and self_calm differ in width
        assert len({str(getattr(look, part)) for look in looks}) == len(looks) - max(len(same) - 1, 0)
    assert style.condition("yoked") == style.condition("yoked")


@pytest.mark.parametrize(
    ("gain", "draws", "words"),
    [
        (1.0, 20, "do not clearly steer more than every placebo selected alike"),
        (6.0, 20, "directions steer more than every placebo selected alike"),
        (6.0, 3, "too few placebo draws for a verdict"),
    ],
)
def test_the_frozen_title_says_what_the_table_says(gain: float, draws: int, words: str) -> None:
    summary = _frozen(8, draws, gain)["frozen_effects_summary"]
    rows = summary[summary["run_step"] == 2000]
    title = frozen.finding(rows, 2000)
    tested = rows[(rows["protocol"] == "heldout") & (rows["finder"] == "dimension")]
    assert words in title
    assert f"strongest placebo {tested.groupby('placebo')['placebo_mean'].mean().max():.2f}" in title


def test_titles_count_what_is_in_the_tables(drawn: dict[str, tuple[Drawing, bytes]]) -> None:
    title = title_of(drawn["perturbation/classification.png"][0])
    assert "change accuracy by +0.05 (0.56 → 0.61), raw statistics reach 0.60" in title


def test_intervals_bins_and_pairs_are_right() -> None:
    found = kit_stats.estimate(pd.Series([1.0, 2.0, 3.0, np.nan]))
    half = 4.302652729911275 / np.sqrt(3)  # t quantile 0.975 with 2 degrees of freedom
    assert (
        (found.n, found.mean) == (3, 2.0)
        and np.isclose(found.low, 2 - half)
        and np.isclose(found.p, 0.0741799)
    )
    one = kit_stats.estimate(pd.Series([5.0]))
    assert one.mean == 5 and np.isnan(one.low) and not one.clear
    pair = kit_stats.paired(pd.Series({1: 3.0, 2: 5.0, 9: 0.0}), pd.Series({2: 1.0, 1: 1.0}))
    assert (pair.n, pair.mean) == (2, 3.0)
    rows = pd.DataFrame({"seed": 1, "step": range(6), "loss": [1.0, 3, np.nan, 5, 0, 8], "onset": 2})
    assert kit_stats.binned(rows, "loss", 2)[1].to_dict() == {0.5: 2, 2.5: 5, 4.5: 4}
    assert list(kit_stats.binned(rows, "loss", 2, origin="onset").index) == [-1.5, 0.5, 2.5]
    table = pd.DataFrame({1: [1.0, 2], 2: [100.0, np.nan]})
    assert np.allclose(kit_stats.band(table, log=True)["mean"], [10, 2])
    assert kit_stats.band(table)["low"].isna().tolist() == [False, True]


def _script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "make_figures.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_script_draws_and_says_what_it_skips(small: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    save({name: small[name] for name in ("classification", "runs")}, tmp_path / "tables")
    done = _script("--out", str(tmp_path))
    assert done.returncode == 0 and done.stderr == ""
    assert (tmp_path / "figures" / "perturbation" / "classification.png").is_file()
    assert "skipped state-trajectory.png: shakespeare/state_path missing or empty" in done.stdout
    assert registry.note_of(tmp_path / "tables", "shakespeare") == "Corpus: shakespeare_char; 3 seeds."


def test_the_script_refuses_what_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "tables" / "shakespeare").mkdir(parents=True)
    (tmp_path / "tables" / "shakespeare" / "classification.csv").write_text(
        'suite,condition\n"a,b\nc,d,e,f\n'
    )
    for folder, words in (("nowhere", "is no folder"), (".", "classification.csv")):
        done = _script("--out", str(tmp_path / folder))
        assert done.returncode == 2 and done.stderr.startswith("error: ") and words in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "figures").exists()


def test_figures_never_import_torch() -> None:
    code = "import sys; from plots import registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
