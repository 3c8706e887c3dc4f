"""The figure and the page of claims: what fell stands first, and marks, partners and missing results are told."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from configs.toml_file import ConfigError
from experiments.claims import file, judge, page
from experiments.claims.file import ADDED, FORESEEN, SEEN, load
from experiments.claims.judge import NOT_SUPPORTED, SUPPORTED, judged
from experiments.claims.page import EXPERIMENT
from experiments.kit.tables import NothingToDraw, Tables
from tests.few_claims import FEW, NONE, READ, file_of, made, many, page_from, row
from tests.made_runs import assert_tables, cells, drawn_of, title_of


def test_the_figure_says_what_came_out(tmp_path: Path) -> None:
    tables, (figure,) = made(tmp_path, surplus=-0.1), EXPERIMENT.figures
    drawing = drawn_of(figure, tmp_path / "page", tables, "claims")
    assert title_of(drawing).startswith("Black: the claim is supported")
    texts = [text.get_text() for text in drawing.axes[0].texts]
    assert texts.count(SUPPORTED) == 2 and texts.count(f"comes back larger; {NOT_SUPPORTED}") == 1
    assert texts.index("beats placebos") < texts.index("gains")  # what fails first

    def across(marker: str) -> Any:
        lines = [line for line in drawing.axes[0].lines if line.get_marker() == marker]
        return np.concatenate([np.asarray(line.get_xdata(), float) for line in lines])

    beats, gains = row(tables, "beats"), row(tables, "gains")
    # what is ranked among placebos counts from their mean
    assert across("D")[0] == pytest.approx((0.35 - beats["placebo"]) / 0.05, rel=1e-6) and across("s")[0] == 0
    assert across("o")[0] == pytest.approx(-gains["effect"] / 0.02, rel=1e-6)
    drawn_of(figure, tmp_path / "two", made(tmp_path, seeds=2), "claims")
    nothing = judged(load(file.FILE), NONE, Tables(tmp_path / "nowhere", "claims"))
    with pytest.raises(NothingToDraw, match="no claim that was measured"):
        drawn_of(figure, tmp_path / "none", nothing, "claims")


def test_the_page_says_first_what_fell_and_what_explains_it(tmp_path: Path) -> None:
    tables = made(tmp_path, ('seen = ["old"]', 'seen = ["s"]'), surplus=-0.1)
    text = page_from(tmp_path / "page", tables)
    assert text.index("- **Not supported: It beats") < text.index("- **Supported: It gains.")
    assert cells(text, "It beats its placebos.*")[-1] == f"{NOT_SUPPORTED}*"
    fell = cells(text, "random ones don't")
    assert fell[1] == "0.350" and "A placebo reaches as much." in fell[-1]
    assert tables["claims"]["file_sha256"].iloc[0] in text and "8 runs of 9 steps" in text
    assert f"{SEEN.capitalize()} (*): `beats`, `gains` and `slower`." in text
    assert "−0.1" in cells(text, "It gains.*")[4] and cells(text, "It gains.*")[6].startswith(
        "bias gets −0.0"
    )
    assert cells(text, "It gains.*")[-1] == f"{SUPPORTED}*"  # written when results were known: never bold
    early = page_from(tmp_path / "early", made(tmp_path))
    assert cells(early, "It gains.")[-1] == f"**{SUPPORTED}**"
    assert "Of 3 claims registered before results, 3 are supported." in early
    assert "Of 3 claims added or changed after results" in text
    assert_tables(text)


KNOWN = ('asks = "Does it?"\n', 'asks = "Does it?"\nforeseen = ["gains"]\n')


def test_a_claim_whose_size_was_known_is_marked_and_never_bold(tmp_path: Path) -> None:
    known, blind = load(file_of(tmp_path, KNOWN)), load(file_of(tmp_path))
    assert {name: one.hash() for name, one in known.claims.items()} == {
        name: one.hash() for name, one in blind.claims.items()
    }
    assert file.marks(known, NONE) == {"beats": "", "gains": FORESEEN, "slower": ""}
    assert file.marks(known, {**NONE, "results": {"s": {}}})["gains"] == ADDED  # the weightier mark
    tables = made(tmp_path, KNOWN)
    text = page_from(tmp_path / "page", tables)
    assert (
        cells(text, "It gains.‡")[-1] == f"{SUPPORTED}‡"
        and cells(text, "It is slower.")[-1] == f"**{SUPPORTED}**"
    )
    assert "Of 2 claims registered before results, 2 are supported." in text
    assert "Of 1 claim registered with its size known, 1 is supported." in text
    assert f"{FORESEEN.capitalize()} (‡): `gains`." in text
    drawing = drawn_of(EXPERIMENT.figures[0], tmp_path / "page", tables, "claims")
    texts = {one.get_text(): one.get_fontweight() for one in drawing.axes[0].texts}
    assert "gains‡" in texts and "slower" in texts
    weights = [one.get_fontweight() for one in drawing.axes[0].texts if one.get_text().endswith(SUPPORTED)]
    assert sorted(weights) == ["bold", "bold", "normal"]
    prose = page.preregistration(known, NONE)
    assert f"Ours. {FORESEEN.capitalize()}." in prose
    with pytest.raises(ConfigError, match=r"unknown claim 'gain' in .*line 9; did you mean 'gains'"):
        load(file_of(tmp_path, (KNOWN[0], KNOWN[1].replace("gains", "gain"))))


def test_an_effect_that_leans_on_partners_is_shown_by_pairs_and_judged_as_it_was(tmp_path: Path) -> None:
    read = FEW + "\n[readings.gains]\npairs = true\n"
    tables, before = made(tmp_path, text=read), made(tmp_path)
    assert (
        row(tables, "gains")[["n", "p", "verdict", "hash"]].tolist()
        == row(before, "gains")[["n", "p", "verdict", "hash"]].tolist()
    )
    seeds = before["claim_seeds"].query("id == 'gains'")["effect"].to_numpy()
    pairs = (seeds[::2] + seeds[1::2]) / 2
    (beside,) = tables["claim_beside"].to_dict("records")
    assert (beside["label"], beside["n"]) == (judge.PAIRED, 4)
    interval = stats.t.interval(0.95, 3, pairs.mean(), stats.sem(pairs))
    assert (beside["mean"], beside["low"], beside["high"]) == pytest.approx((pairs.mean(), *interval))
    text = page_from(tmp_path / "page", tables)
    assert f"By pairs{judge.PAIRED.removeprefix('by pairs')} (4 pairs): −0.097 [−0.108, −0.086]." in text
    page_from(tmp_path / "one", made(tmp_path, text=read, seeds=1))


def test_what_is_shown_beside_a_claim_is_the_strongest_and_changes_nothing(tmp_path: Path) -> None:
    hashes = {name: one.hash() for name, one in load(file_of(tmp_path)).claims.items()}
    assert {
        name: one.hash() for name, one in load(file_of(tmp_path, text=FEW + READ)).claims.items()
    } == hashes
    tables = made(tmp_path, text=FEW + READ)
    (beside,) = tables["claim_beside"].to_dict("records")
    # 1.99 is less than 2, which is claimed
    assert (beside["id"], beside["name"], beside["n"]) == ("gains", "bias", 8)
    assert beside["mean"] == pytest.approx(1.99)
    text = page_from(tmp_path / "page", tables)
    assert cells(text, "It gains.")[6].endswith("; strongest, bias, 1.990")
    assert "- *gains* (`gains`): Mind the bias. Strongest (bias): +1.990 [+1.990, +1.990]." in text


def test_numbers_that_are_ranked_stand_beside_placebos_on_one_scale(tmp_path: Path) -> None:
    tables = made(tmp_path, surplus=0.25)
    beats, said = row(tables, "beats"), cells(page_from(tmp_path / "page", tables), "It beats its placebos.")
    assert said[4].startswith(f"+{beats['effect']:.3f} [") and said[4].endswith("] nats")
    kind = {"rotated": "scrambled"}.get(beats["placebo_name"], beats["placebo_name"])
    assert said[6] == f"{beats['value']:.3f} against {beats['placebo']:.3f} ({kind})"
    assert beats["value"] - beats["placebo"] == pytest.approx(beats["effect"])


def test_the_page_says_which_family_needs_every_seed(tmp_path: Path) -> None:
    said = "With 12 claims the first to be supported needs the smallest p that 8 seeds can give"
    assert said in page_from(
        tmp_path / "page", made(tmp_path, text=many(12))
    )  # 12 / 256 < 0.05 <= 12 * 2 / 256
    assert "needs the smallest p" not in page_from(tmp_path / "page", made(tmp_path, text=many(6)))


def test_the_page_stands_without_results(tmp_path: Path) -> None:
    committed = load(file.FILE)
    assert re.findall("^## (.*)", page_from(tmp_path, {}), re.M) == [
        "In short",
        "Published claims that fell",
        "Every published number",
        "Withdrawn: measured something else",
        "What was claimed before it was known",
    ]
    nothing = judged(committed, NONE, Tables(tmp_path / "nowhere", "claims"))
    assert page_from(tmp_path / "page", nothing).count("not measured") >= len(committed.claims) - len(
        committed.withdrawn()
    )
    assert "- **Inconclusive: It gains.**" in page_from(tmp_path / "two", made(tmp_path, seeds=2))
