"""Put a finished study where it is committed: figures/, docs/results/ and docs/results/tables/."""

import datetime
from pathlib import Path

from base import storage
from base.storage import ROOT
from study import book, run_card

REGISTER = "docs/results/claims.json"
SMALL_BYTES = 5_000_000  # of a table that is committed; larger ones stay in the output folder
NOT_COMMITTED = ("metrics", "state_path")
"""Tables with a row a step of each run, which are not committed whatever their size: README's findings do without."""


def publish(out: Path, root: Path = ROOT) -> list[Path]:
    """Copy figures, pages, small tables and the run card of an output folder, and README's numbers. Returns what changed.

    Only files of the same names are replaced; whatever else stands in those folders stays.
    """
    pairs = [
        (path, root / "figures" / path.relative_to(out / "figures"))
        for path in _all(out / "figures", "*.png")
    ]
    pages = _all(out / "report" / "published", "*.md")
    pairs += [
        (path, root / "docs" / "results" / path.relative_to(out / "report" / "published")) for path in pages
    ]
    tables = [
        path
        for path in _all(out / "tables", "*.csv")
        if path.stem not in NOT_COMMITTED and path.stat().st_size <= SMALL_BYTES
    ]
    pairs += [
        (path, root / "docs" / "results" / "tables" / path.relative_to(out / "tables")) for path in tables
    ]
    if (out / run_card.FILE).is_file():
        pairs.append((out / run_card.FILE, root / "docs" / "results" / run_card.FILE))
    changed = []
    for source, destination in pairs:
        content = source.read_bytes()
        if not destination.is_file() or destination.read_bytes() != content:
            storage.write_bytes(destination, content)
            changed.append(destination)
    changed += _register_claims(out, root)
    readme = root / "README.md"
    if readme.is_file():
        from study import documents  # loads pandas, which a study with nothing to publish need not wait for

        before = readme.read_bytes()
        if documents.write_readme(root).read_bytes() != before:
            changed.append(readme)
    return changed


def _register_claims(out: Path, root: Path) -> list[Path]:
    """Bring the register of claims up to date with what has results now. Returns it if that changed it."""
    if not (out / "tables" / book.CLAIMS / "claims.csv").is_file():
        return []
    from analysis import claims  # loads pandas

    register = root / REGISTER
    before = register.read_bytes() if register.is_file() else b""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    where = run_card.commit(root)["commit"] or "unknown"
    claims.register(root / "docs" / "results" / "tables", register, today, where)
    return [register] if register.read_bytes() != before else []


def _all(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())
