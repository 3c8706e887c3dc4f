"""Put a finished study where it is committed: figures/, docs/results/ and docs/results/tables/."""

import datetime
import gzip
import io
import zlib
from pathlib import Path

from base import storage
from base.storage import ROOT
from experiments.kit.levels import OF_STEPS
from study import book, phases, run_card
from study.steer_page import choice

REGISTER = "docs/results/claims.json"
SMALL_BYTES = 5_000_000  # of a table that is committed; larger ones stay in the output folder
PLAIN_BYTES = 200_000  # of a table that is committed as it is; larger ones as .csv.gz


def publish(out: Path, root: Path = ROOT) -> list[Path]:
    """Copy figures, pages, small tables, the run card and the page to steer by hand, and README's numbers. Returns what changed.

    Only files of the same names are replaced, and a table's other form; whatever else stands in those folders stays. What
    suites of the user's own left in the same output folder is not the study's, and stays there.
    """
    own = {path.name for path in (out / "tables").glob("*") if path.name not in phases.suite_names()}
    pairs = [
        (path, root / "figures" / path.relative_to(out / "figures"))
        for path in _all(out / "figures", "*.png")
        if path.relative_to(out / "figures").parts[0] not in own
    ]
    pages = out / "report" / phases.PUBLISHED
    written = {
        path: root / "docs" / "results" / path.relative_to(pages)
        for path in _all(pages, "*.md")
        if path.name != run_card.PAGE
    }
    tables = [
        path
        for path in _all(out / "tables", "*.csv")
        if path.stem not in OF_STEPS
        and 1 < path.stat().st_size <= SMALL_BYTES  # one that is empty is a line break
        and path.parent.name not in own
    ]
    if (out / "report" / choice.FILE).is_file():
        pairs.append((out / "report" / choice.FILE, root / "docs" / choice.FILE))
    from study import documents  # loads pandas, which a study with nothing to publish need not wait for

    together, changed = {*written.values()}, []
    texts = [
        (documents.linked(path.read_text(encoding="utf-8"), place.parent, together).encode(), place)
        for path, place in written.items()
    ]
    for content, destination in [*((path.read_bytes(), place) for path, place in pairs), *texts]:
        if not destination.is_file() or destination.read_bytes() != content:
            storage.write_bytes(destination, content)
            changed.append(destination)
    for path in tables:
        place = root / "docs" / "results" / "tables" / path.relative_to(out / "tables")
        changed += _put_table(path.read_bytes(), place)
    changed += _put_card(out, root / "docs" / "results")
    changed += _register_claims(out, root)
    readme = root / "README.md"
    if readme.is_file():
        before = readme.read_bytes()
        if documents.write_readme(root).read_bytes() != before:
            changed.append(readme)
    return changed


def _put_table(content: bytes, plain: Path) -> list[Path]:
    """Write a table as `plain` or, where it is large, packed beside that, and not in both forms. Returns what changed."""
    small, gz = len(content) <= PLAIN_BYTES, plain.with_suffix(".csv.gz")
    place, other = (plain, gz) if small else (gz, plain)
    changed = [other] if other.exists() else []
    storage.remove(other)
    if not place.is_file() or (place.read_bytes() if small else _unpacked(place)) != content:
        storage.write_bytes(place, content if small else packed(content))
        changed.append(place)
    return changed


def packed(content: bytes) -> bytes:
    """Some bytes as a gzip file without name and time, so that equal tables give equal bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.write(content)
    return buffer.getvalue()


def _unpacked(path: Path) -> bytes | None:
    """What a gzip file holds, whatever packed it; None where it is not whole."""
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error):
        return None


def _put_card(out: Path, results: Path) -> list[Path]:
    """Write the run card, and its page, with those before it that still tell of a published suite. Returns what changed."""
    if not (out / run_card.FILE).is_file():
        return []
    place, own = results / run_card.FILE, storage.read_json(out / run_card.FILE)
    before = storage.read_json(place) if place.is_file() else {}
    if run_card.bare(own) == run_card.bare(before):
        return []
    suites = [path.name for path in (results / "tables").iterdir()]
    found = run_card.after(own, before, suites)
    storage.write_sealed(place, found)
    storage.write_text(results / run_card.PAGE, run_card.page(found))
    return [place, results / run_card.PAGE]


def _register_claims(out: Path, root: Path) -> list[Path]:
    """Bring the register of claims up to date with what has results now. Returns it if that changed it."""
    if not (out / "tables" / book.CLAIMS / "claims.csv").is_file():
        return []
    from experiments.claims import file  # loads pandas

    register = root / REGISTER
    before = register.read_bytes() if register.is_file() else b""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    where = run_card.commit(root)["commit"] or "unknown"
    file.register(root / "docs" / "results" / "tables", register, today, where)
    return [register] if register.read_bytes() != before else []


def _all(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())
