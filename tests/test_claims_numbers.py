"""Every number of the published documents: whether it comes back, and whether it survives its control."""

from pathlib import Path
from typing import Any

import pandas as pd

from base import storage
from base.storage import ROOT
from experiments.claims import document, file, judge
from experiments.claims.judge import ABSENT
from experiments.kit.stats import Estimate
from experiments.kit.tables import Tables, content
from tests.made_runs import assert_tables, cells, read_from


def of(low: float, high: float, n: int = 8) -> Estimate:
    return Estimate(n, (low + high) / 2, low, high, 0.01)


def test_a_number_comes_back_where_a_further_seed_could_give_it() -> None:
    inside = of(0.2, 0.24)  # 0.06 from the mean: three half intervals reach as far
    assert judge.back(0.25, inside) == judge.YES
    assert (judge.back(0.30, inside), judge.back(0.10, inside)) == (judge.SMALLER, judge.LARGER)
    assert judge.back(-0.30, of(-0.24, -0.2)) == judge.SMALLER
    assert judge.back(-0.05, inside) == judge.TURNED and judge.back(0.3, of(-0.02, 0.02)) == judge.NO
    assert judge.back(0.01, of(-0.02, 0.02)) == judge.back(0.25, of(0.2, 0.24, 2)) == judge.UNDECIDED
    assert judge.back(0.25, of(0.2, 0.24, 0)) == ABSENT
    assert (
        judge.back(0.25, inside, null=0.5) == judge.YES and judge.back(0.6, inside, null=0.5) == judge.TURNED
    )
    assert (
        judge.back(0.25, inside, least=0.2) == judge.YES
        and judge.back(0.25, inside, least=0.21) == judge.UNDECIDED
    )


def test_a_number_survives_by_its_whole_interval() -> None:
    assert document.survives(0.27, of(0.1, 0.3)) == document.survives(-0.05, of(-0.3, -0.1)) == judge.YES
    assert document.survives(-0.05, of(0.1, 0.3)) == judge.TURNED
    assert document.survives(0.27, of(-0.1, 0.3)) == document.UNSEEN
    assert document.survives(0.27, of(0.1, 0.3, 2)) == judge.UNDECIDED


def ends(printed: str) -> list[tuple[float, float]]:
    """The numbers of a cell of docs/published/numbers.csv, a range's two ends, and half of each one's last digit."""
    found = []
    for one in printed.split(" to "):
        digits, unit = one.removesuffix(" %"), 0.01 if one.endswith("%") else 1.0
        found.append((unit * float(digits), unit * 0.5 * 10.0 ** -len(digits.partition(".")[2])))
    return found


def test_every_number_that_the_documents_print_has_a_row_or_a_reason() -> None:
    listed = pd.read_csv(ROOT / "docs" / "published" / "numbers.csv", dtype=str, keep_default_na=False)
    assert [*listed] == ["line", "document", "number", "printed", "row", "reason"]
    assert [*dict.fromkeys(listed["line"].astype(int))] == [*range(1, 160)]
    assert ((listed["row"] == "") != (listed["reason"] == "")).all()
    asked = {one.name: one for one in document.numbers()}
    rows = listed[listed["row"] != ""]
    assert set(rows["row"]) == set(asked) and len(asked) == len([*document.numbers()])
    for line in rows.to_dict("records"):
        one = asked[line["row"]]
        said = [one.said] if one.to is None else [one.said, one.to]
        bare = "absolute" in line["number"] or not one.signed  # printed, or compared, without a sign
        for value, (printed, half) in zip(said, ends(line["printed"]), strict=True):
            apart = abs(value) - abs(printed) if bare else value - printed
            assert abs(apart) <= half * (1 + 1e-9), line


def test_every_number_has_a_control_or_says_that_it_is_one() -> None:
    for one in document.numbers():
        ways = [one.control, one.net, one.minus, one.word or None]
        assert sum(way is not None for way in ways) == (2 if one.control and one.net else 1), one.name


def test_no_published_number_is_left_out(tmp_path: Path) -> None:
    """Each finds its cell, in tables in which every number comes back twice as large, and controls are nothing."""
    made: dict[tuple[str, str], list[dict[str, Any]]] = {}
    known: set[str] = set()
    asked = [*document.numbers()]

    def cell(query: file.Query, value: float) -> bool:
        """Make a cell, unless it is there: two numbers may have one, as both swaps have."""
        place = query.model_copy(update={"take": "one"}).model_dump_json()
        if place in known:
            return False
        known.add(place)
        rows = made.setdefault((query.suite, query.table), [])
        rows += [
            {**query.where, "at_bound": 0.97, "seed": seed, query.column: value * (2 + 0.01 * seed)}
            for seed in (1, 2, 3)
        ]
        return True

    own = {one.name for one in asked if cell(one.query, one.said)}
    for one in asked:
        if one.control is not None and one.net is None:
            cell(one.query.model_copy(update={"where": {**one.query.where, **one.control.where}}), 0.0)
        if one.query.table == "regime_deltas" and one.query.where["condition"] == "regimes":
            left = {**one.query.where, "beyond": one.said}
            made.setdefault((one.query.suite, "dropout_deltas"), []).extend(
                {**left, "seed": seed} for seed in (1, 2, 3)
            )
    for (suite, name), rows in made.items():
        storage.write_bytes(tmp_path / suite / f"{name}.csv", content(pd.DataFrame(rows)))
    text = document.document(Tables(tmp_path, "claims"))
    assert text.count("\n") == len(asked) + 1
    assert_tables(text)
    for one in asked:
        found = cells(text, f"{one.name} |")
        assert found[-1] == "3", one.name
        if one.name in own and ": random" not in one.name:  # whose first draw is a number of its own
            assert found[3] == judge.LARGER, one.name
        if one.word:
            assert found[4:6] in (["a control itself", "–"], ["begins at 0.5", "–"]) or (
                found[4] == "all that its gate allows in 97 % of steps"
            ), one.name
        elif one.net is None or "with dropout" in one.name:
            assert found[5] == judge.YES, one.name
    assert cells(text, "five regimes: lr_heatwave, loss |")[1] == "−0.010"
    assert cells(text, "buffer_64_stride_5: drift |")[1] == "+0.0004 to +0.0007"
    assert cells(text, "frozen weights: confident |")[4] == "–"  # no dose curve
    assert cells(text, "held-out loss, without minus with a self-state |")[2].startswith("+0.0208 [")


def test_shares_and_spreads_are_counted_as_published(tmp_path: Path) -> None:
    place = {"suite": "shakespeare", "condition": "analysis", "run_step": 1000, "protocol": "replication"}
    rows = []
    for seed in (1, 2, 3):
        for draw, (change, falls) in enumerate([(-0.1, 1.0), (0.1, 0.2), (0.3, 0.0), (0.1, 0.2)]):
            rows.append({**place, "seed": seed, "state": "random", "draw": draw, "delta_entropy": change, "sign_consistency": falls})  # fmt: skip
        for state, right in (("confident", 0.8), ("uncertain", 0.5 + 0.001 * seed)):
            rows.append({**place, "seed": seed, "state": state, "draw": 0, "delta_entropy": 0.0, "sign_consistency": right})  # fmt: skip
    tables = read_from(tmp_path, "shakespeare", {"frozen_conditions": pd.DataFrame(rows)}).of("claims")
    found = {line[0].removeprefix("frozen weights: "): line for line in document.rows(tables)}
    assert found["random, share of directions that lower it"][2].startswith("0.250 [")
    assert found["random, SD of directions"][2].startswith("0.141 [")  # 0.1 * sqrt(2), by n
    assert found["one random direction"][2].startswith("−0.100 [")
    # beyond the 0.35 of random ones' batches that fall, and below the 0.65 that rise
    assert found["confident, share of batches with its sign"][4].startswith("+0.450 [")
    assert found["uncertain, share of batches with its sign"][4].startswith("−0.148 [")


def test_of_a_range_the_end_next_to_ours_counts() -> None:
    one = next(one for one in document.numbers() if one.name == "buffer_64: effect")
    assert (one.near(-0.2), one.near(-0.11), one.near(0.0)) == (-0.121, -0.11, -0.103)


def test_what_was_selected_is_held_against_what_was_selected_alike(tmp_path: Path) -> None:
    made: dict[str, list[dict[str, Any]]] = {
        "frozen_conditions": [],
        "frozen_doses": [],
        "frozen_dose_placebos": [],
    }
    for seed in (1, 2, 3):
        place = {"suite": "shakespeare", "condition": "analysis", "seed": seed, "run_step": 1000}
        for state, change in (("confident", -0.1), ("random", 0.1)):
            row = {"protocol": "replication", "state": state, "draw": 0, "delta_entropy": change - 0.001 * seed, "sign_consistency": 1.0}  # fmt: skip
            made["frozen_conditions"].append(place | row)
        for dose in (0.1, 0.2):
            for kind, reader, change in (("doses", "learned", -0.3), ("dose_placebos", "untrained", -0.4)):
                row = {"direction": "confident", "reader": reader, "draw": 0, "magnitude": dose, "delta_entropy": change * dose - 0.001 * seed * (reader == "learned")}  # fmt: skip
                made[f"frozen_{kind}"].append(place | row)
    tables = read_from(tmp_path, "shakespeare", {name: pd.DataFrame(rows) for name, rows in made.items()})
    found = cells(document.document(tables.of("claims")), "frozen weights: confident |")
    assert (
        found[4].startswith("+0.018 [") and found[5] == judge.TURNED
    )  # at the largest dose, −0.060 against −0.080
