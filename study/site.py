"""report/index.html: every page of a study in one file that opens from disk, without a network.

What each page says first as cards, the claims to filter, all pages with their figures and folded tables, a search over all.
"""

import re
from pathlib import Path
from typing import Any

from base import storage
from experiments.kit.pages import filled
from experiments.kit.tables import Tables
from study import book, phases
from study.documents import opening

FILE = "index.html"
HERE = Path(__file__).parent


def write(out: Path) -> Path | None:
    """Write `<out>/report/index.html` from the pages, figures and claims that are there. None where there is no page."""
    report = out / "report"
    pages = [_page(path) for path in _in_order(report)]
    if not pages:
        return None
    rows = Tables(out / "tables", book.CLAIMS).rows("claims")
    claims = [
        {"statement": row["statement"], "verdict": row["verdict"], "family": row["family_title"], "n": row["n"]}
        for row in rows.to_dict("records") if isinstance(row["family_title"], str)
    ]  # fmt: skip
    hero = next((name for name in ("hero.png", "floors.png") if (out / "figures" / name).is_file()), "")
    content = filled("site.html", {"pages": pages, "claims": claims, "hero": hero}, HERE, html=True)
    storage.write_text(report / FILE, content)
    return report / FILE


def _in_order(report: Path) -> list[Path]:
    """The pages of a report in the order of the study, then those of suites of the user's own."""
    found = [path for one in book.with_pages() if (path := report / one.page).is_file()]
    more = sorted(path for path in report.rglob("*.md") if path.parent.name != phases.PUBLISHED)
    return [*found, *(path for path in more if path not in found)]


def _page(path: Path) -> dict[str, Any]:
    """A page's name, title, what it says first, and itself as HTML with its tables folded and its links inside this file."""
    from markdown_it import MarkdownIt

    text = path.read_text(encoding="utf-8")
    title, _, rest = text.partition("\n")
    html = MarkdownIt("commonmark").enable("table").render(rest)
    html = re.sub(
        r"<table>.*?</table>", r"<details><summary>table</summary>\g<0></details>", html, flags=re.S
    )
    html = re.sub(r'href="([a-z0-9_-]+)\.md(#[^"]*)?"', r'href="#\1"', html)
    return {
        "name": path.stem,
        "title": title.removeprefix("# "),
        "first": opening(text),
        "html": html,
    }
