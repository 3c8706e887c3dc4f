"""report/index.html: one file with all pages."""

import re
from pathlib import Path

import pandas as pd

from study import making, site
from tests.made_tables import study, written


def test_one_file_has_every_page_and_every_claim(tmp_path: Path) -> None:
    written(tmp_path, study())
    claims = tmp_path / "tables" / "claims"
    claims.mkdir()
    columns = ["id", "statement", "verdict", "family_title", "n"]
    rows = [["a", "A <b> claim.", "supported", "First", 8], ["b", "Withdrawn.", "", None, 0]]
    pd.DataFrame(rows, columns=columns).to_csv(claims / "claims.csv", index=False)
    assert site.write(tmp_path) is None  # no page yet
    making.made_again(tmp_path / "tables", tmp_path, "shakespeare", "A note.", figures=False, pages=True)
    path = site.write(tmp_path)
    assert path == tmp_path / "report" / "index.html"
    text = path.read_text(encoding="utf-8")
    pages = list((tmp_path / "report").glob("*.md"))
    assert len(pages) > 3 and text.count('class="page"') == len(pages)
    ids = re.findall(r'<section id="([a-z0-9-]+)"', text)
    assert {page.stem for page in pages} | {"all-claims"} == set(ids)
    cards = re.findall(r'<a href="#([a-z0-9-]+)"><b>', text)
    assert cards and set(cards) <= set(ids)
    assert "A &lt;b&gt; claim." in text and 'data-verdict="supported"' in text and "Withdrawn." not in text
    assert text.count("<details>") == text.count("<table>") > 5 and "http" not in text.replace(
        "http-equiv", ""
    )
    assert "A note." in text
