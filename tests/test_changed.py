"""What a publication changed among claims: told with both numbers, and only where something was judged otherwise."""

from pathlib import Path

import pytest

from base import ROOT, storage
from base.storage import UserError
from experiments.claims import changed
from experiments.claims.file import load
from experiments.kit import tables

CLAIMS = load()
NOW = tables.read(ROOT / "docs" / "results" / "tables", "claims", "claims")


def rows_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| `")]


def test_nothing_is_told_of_what_came_out_as_before() -> None:
    text = changed.changes(NOW, NOW, CLAIMS)
    assert text.startswith(
        f"Of {(NOW['n'] > 0).sum()} claims judged in both, 0 came out otherwise."
    ) and not rows_of(text)


def test_a_claim_that_is_judged_otherwise_stands_with_both_numbers() -> None:
    name = "bewilderment_loss_beyond"
    before = NOW.copy()
    other: dict[str, str | float] = {"verdict": "inconclusive", "effect": 0.5, "low": -0.25, "high": 1.25}
    for column, value in other.items():
        before.loc[before["id"] == name, column] = value
    (line,) = rows_of(changed.changes(before, NOW, CLAIMS))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    now = NOW[NOW["id"] == name].iloc[0]
    assert cells[0] == f"`{name}`: {now['statement']}"
    assert cells[1].startswith("inconclusive, +0.500 [−0.250, +1.250] nats, n = 8; comes back: yes, +1.6")
    assert cells[2].startswith(f"{now['verdict']}, +{now['effect']:.3f} [")


def test_a_withdrawn_claim_stands_beside_its_successor() -> None:
    name, claim = next(
        (name, claim) for name, claim in CLAIMS.claims.items() if claim.successor in set(NOW["id"])
    )
    old = NOW.head(1).assign(
        id=name,
        statement="It was so.",
        verdict="supported",
        effect=1.0,
        low=0.5,
        high=1.5,
        returns=float("nan"),
    )
    text = changed.changes(old.drop(columns="returns"), NOW, CLAIMS)
    (line,) = rows_of(text)
    assert (
        f"| `{name}`: It was so. | supported, +1.000 [+0.500, +1.500]" in line
        and f"| `{claim.successor}`: " in line
    )
    assert "took its place: 1." in text


def test_a_folder_without_claims_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder of results"):
        changed.write(tmp_path, tmp_path)


def test_it_is_written_whole_with_the_dates_of_the_results_before(tmp_path: Path) -> None:
    for place in ("docs/results/tables/claims", "configs"):
        (tmp_path / place).mkdir(parents=True)
    claims = (ROOT / "configs" / "claims.toml").read_bytes()
    storage.write_bytes(tmp_path / "configs" / "claims.toml", claims)
    NOW.to_csv(tmp_path / "docs/results/tables/claims/claims.csv", index=False)
    storage.write_json(
        tmp_path / "docs/results/claims.json",
        {"results": {"a": {"date": "2026-01-02"}, "b": {"date": "2026-01-01"}}},
    )
    text = changed.write(tmp_path, tmp_path / "docs" / "results").read_text(encoding="utf-8")
    assert "results of 2026-01-01 to 2026-01-02." in text and "0 came out otherwise." in text
