"""Files are whole or absent: what a refused write, a kill and a changed byte leave of them."""

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

from base import storage
from base.storage import UserError


def refuse(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("operation", ["fsync", "replace", "fdopen"])
def test_a_refused_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    storage.write_text(tmp_path / "a", "one")
    with monkeypatch.context() as full:
        full.setattr(os, operation, refuse)
        with pytest.raises(OSError, match="No space left"):
            storage.write_text(tmp_path / "a", "two")
    storage.write_text(tmp_path / "b", "three")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "one", "b": "three"}


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def noted(*given: Any, name: str = name, real: Any = real) -> Any:
            done.append(name)
            return real(*given)

        monkeypatch.setattr(os, name, noted)
    storage.write_text(tmp_path / "a", "one")
    assert done == ["fsync", "replace", "fsync"]  # the file, its name, the folder that holds the name


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_text(tmp_path / "run" / "a", "old")
    real = os.replace

    def replace(path: Any, place: Any) -> None:
        real(path, place) if Path(place).name != "run" else refuse()

    with pytest.raises(OSError, match="No space left"), storage.whole_folder(tmp_path / "run") as folder:
        storage.write_text(folder / "a", "new")
        monkeypatch.setattr(os, "replace", replace)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["run", "run/a"]
    assert (tmp_path / "run" / "a").read_text() == "old"


def test_what_was_killed_is_swept_away(tmp_path: Path) -> None:
    for name in (".a.csv.x1.partial", "deep/.b.x2.partial", "deep/kept.partial", ".hidden"):
        storage.write_text(tmp_path / name, "")
    storage.write_text(tmp_path / ".run.x3.old" / "model", "")
    storage.sweep(tmp_path)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == [".hidden", "deep", "deep/kept.partial"]


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_a_sealed_record_is_refused_when_changed(tmp_path: Path, at: int) -> None:
    path = tmp_path / "run.json"
    value = {"bytes_per_token": 1.5, "step": 40, "files": {"a": "b"}}
    storage.write_sealed(path, value)
    assert {name: part for name, part in storage.read_json(path).items() if name != storage.SEAL} == value
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1
    path.write_bytes(content)
    try:
        found = storage.read_json(path)
    except UserError:
        return
    found.pop(storage.SEAL, None)
    assert {
        name: part for name, part in found.items() if name in value
    } == value  # blank space, or the seal's name


def test_a_byte_order_mark_is_no_part_of_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert storage.read_json(tmp_path / "a.json") == {"a": 1}
