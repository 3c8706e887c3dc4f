"""The result pages of a study: tables in, Markdown files out."""

from pathlib import Path

import storage
from reports import frozen, shakespeare
from reports.parts import Tables, page

ENDING = "Written from the tables by `scripts/make_report.py`; edits here are lost. What each column means: `docs/METRICS.md`."


def write_all(
    out: Path, suite_name: str, note: str, figures: str = "../figures", destination: Path | None = None
) -> list[Path]:
    """Write `shakespeare.md` and `frozen-test.md` from the tables in `<out>/tables`.

    Args:
        out: folder that holds `tables/`. Missing tables and rows become a plain sentence on the page.
        suite_name: the suite whose rows are reported.
        note: put at the head of each page, for example that the study is a quick one; may be empty.
        figures: the folder of figures as seen from the pages.
        destination: folder to write to; `<out>/report` if None.

    Returns:
        The paths written.
    """
    tables = Tables(out / "tables", suite_name)
    folder = destination if destination is not None else out / "report"
    pages = {
        "shakespeare.md": page(
            shakespeare.TITLE, note, tables, shakespeare.sections(tables, figures), ENDING
        ),
        "frozen-test.md": page(frozen.TITLE, note, tables, frozen.sections(tables, figures), ENDING),
    }
    for name, text in pages.items():
        storage.write_text(folder / name, text)
    return [folder / name for name in pages]
