"""What is committed: no link where a file should be, and no document that points to what is not there."""

import re
import subprocess
from pathlib import Path

import pytest

from base.storage import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_no_tracked_file_is_a_link() -> None:
    try:
        listed = subprocess.run(
            ("git", "-C", str(ROOT), "ls-files", "--stage", "-z"), capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no clone of the repository")
    entries = [entry.split("\t") for entry in listed.split("\0") if entry]
    assert entries and [name for about, name in entries if not about.startswith("100")] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    inside = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    lost = [document.parent / target for target in inside if not (document.parent / target).exists()]
    assert lost == []
