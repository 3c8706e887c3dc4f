"""Hashes of code are kept from one command to the next, and taken only while the code is as it was."""

import subprocess
import sys
from pathlib import Path

import pytest

from base import code, known_code, storage
from base.code import Place

PLACE = Place("perturb", "REGIMES")
ASKED = "perturb:REGIMES"
COMMAND = """
import sys
from pathlib import Path
from base import known_code
from base.code import Place
known_code.KEPT = Path(sys.argv[1])
known_code.of(Place("perturb", "REGIMES"))
"""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(known_code, "KEPT", tmp_path / "kept.json")
    known_code._known.cache_clear()
    monkeypatch.setattr(known_code, "_keep_at_the_end", lambda: None)
    return tmp_path / "kept.json"


def test_a_command_leaves_what_it_found(kept: Path) -> None:
    subprocess.run([sys.executable, "-c", COMMAND, str(kept)], check=True, cwd=storage.ROOT)
    assert storage.read_json(kept)["hashes"] == {ASKED: code.of(PLACE)}
    known_code._known.cache_clear()
    assert known_code.of(PLACE) == code.of(PLACE)


@pytest.mark.parametrize("same", [True, False])
def test_what_was_left_holds_for_the_same_code_only(kept: Path, same: bool) -> None:
    stood = known_code._stood() if same else "0" * 64
    storage.write_sealed(kept, {"code": stood, "hashes": {ASKED: {"REGIMES": "left"}}})
    assert known_code.of(PLACE) == ({"REGIMES": "left"} if same else code.of(PLACE))


@pytest.mark.parametrize("content", ["", "[]", '{"hashes": 1}'])
def test_a_broken_file_is_as_none(kept: Path, content: str) -> None:
    kept.write_text(content, encoding="utf-8")
    assert known_code.of(PLACE) == code.of(PLACE)


def test_every_file_that_code_is_followed_into_is_looked_at() -> None:
    """Else an edit there would go unseen."""
    followed = {
        place.module
        for place in code.reached([Place("train", "train"), Place("experiments.floors", "EXPERIMENT")])
    }
    looked_at = {
        path.relative_to(storage.ROOT).with_suffix("").as_posix().replace("/", ".")
        for path in known_code.sources()
    }
    assert followed <= looked_at | {name.removesuffix(".__init__") for name in looked_at}
