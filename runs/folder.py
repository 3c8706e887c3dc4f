"""Run folders and checkpoints: the one place that writes and reads them.

A finished run lies in `<runs>/<first 16 digits of its key>/`, whole or absent. While it trains, its checkpoints lie in
`<runs>/.<digits>.work/`; from the newest whole one an interrupted run goes on, and at the end the folder goes.
"""

import contextlib
import csv
import fcntl
import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from base import code, known_code, storage
from base.storage import UserError
from configs.run import RunConfig
from runs import foreign

FORMAT = 1
KEPT_CHECKPOINTS = 2
VOCABULARY = "vocabulary.json"
LONGEST_VIEW = 4096  # bytes of a path


@functools.cache
def _code(without: tuple[str, ...]) -> dict[str, str]:
    places = (code.Place("data.process", "transitions_of"), code.Place("data.rows", "tables_of"))
    drawn = (place for place in places if place.module not in without)
    return known_code.of(code.Place("train", "train"), *drawn, without=without)


def unused(run: RunConfig) -> tuple[str, ...]:
    """Modules that a run does not use, though training reaches them; what tokenizers do is in the hash of the tokens."""
    found = ["data.tokenizers", "data.sources"]
    if not run.self_state.enabled or run.self_state.memory.kind == "none":
        found.append("memory")
    if run.process is None or run.process.kind == "rows":
        found += ["data.process", "runs.observer"]
    if run.process is None or run.process.kind != "rows":
        found.append("data.rows")
    if run.channels is None:
        found.append("channels")
    if run.model.weights is None:
        found.append("runs.foreign")
    return tuple(found)


def code_of(run: RunConfig) -> dict[str, str]:
    """What the code does that trains a run, by definition: an edit to a part that it does not use leaves it alone."""
    return _code(unused(run))


def run_parts(
    run: RunConfig, tokens_sha256: str | None, inputs: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What decides a run: its config, its code, its data and its inputs. Of a file of weights that it begins with, what is in it.

    inputs: the keys of the runs that `run.references()` names.
    """
    fields = run.decisive()
    if run.model.weights is not None:
        fields["model"]["weights"] = foreign.sha256(Path(run.model.weights))
    return {
        "format": FORMAT,
        "config": fields,
        "code": code_of(run),
        "data": tokens_sha256,
        "inputs": dict(inputs or {}),
    }


def run_key(run: RunConfig, tokens_sha256: str, inputs: Mapping[str, str] | None = None) -> str:
    """The key of a run, 64 hex digits: the hash of `run_parts`."""
    return storage.hash_json(run_parts(run, tokens_sha256, inputs))


def folder_of(runs: Path, key: str) -> Path:
    return runs / key[:16]


def viewed(path: Path) -> Path:
    """The run folder that a path given by a user means: out/<suite>/<condition>/seed-<n> is a text file with the folder's
    path where links can't be made, or where copying made it one."""
    if path.is_file() and path.stat().st_size <= LONGEST_VIEW:
        held = path.read_text(encoding="utf-8", errors="replace").strip()
        if held and os.path.isdir(path.parent / held):
            return path.parent / held
    return path


def weights_name(step: int | None) -> str:
    """File name of the weights after `step` steps, or of the last ones."""
    return "model.safetensors" if step is None else f"model-step{step}.safetensors"


def check(folder: Path, key: str | None = None) -> dict[str, Any]:
    """What run.json says of a folder, once every file is there with the recorded SHA-256.

    Raises:
        UserError: no folder, not a finished run, a file missing or changed, or a run of another key.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a run folder")
    record = storage.read_json(folder / "run.json")
    if (
        not isinstance(record, dict)
        or record.get("status") != "complete"
        or not isinstance(record.get("files"), dict)
        or not all(isinstance(record.get(name), str) for name in ("key", "data", "code"))
        or any(Path(name).name != name for name in record["files"])
    ):
        raise UserError(f"{folder} holds no finished run; delete it and run again")
    if key is not None and record.get("key") != key:
        raise UserError(
            f"{folder} holds a run of another config, code or corpus; delete it or choose another --out"
        )
    for name, digest in record["files"].items():
        path = folder / name
        if not path.is_file() or storage.sha256_file(path) != digest:
            raise UserError(f"{path} is missing or was changed; delete {folder} and run again")
    return record


def checkpoint_name(step: int) -> str:
    """File name of all that a run had after `step` steps, for runs that go on from there."""
    return f"checkpoint-step{step}.safetensors"


def load_config(folder: Path) -> RunConfig:
    """The resolved config that a run was trained with."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} is not a run folder: it has no config.json")
    try:
        return RunConfig.model_validate_json(json.dumps(storage.read_json(path)))
    except (UserError, ValueError):
        raise UserError(f"{path} is not a run's config; delete {folder} and run again") from None


def load_log(folder: Path) -> list[dict[str, str]]:
    """The rows of a finished run's metrics.csv, one a step; an empty cell was not measured."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@contextlib.contextmanager
def work_folder(runs: Path, key: str) -> Iterator[Path]:
    """The folder of a run in progress, held by this process alone. UserError while another trains the same run."""
    work = work_of(folder_of(runs, key))
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is training this very run ({work}); wait for it") from None
        storage.sweep(work)
        storage.sweep_of(folder_of(runs, key))
        yield work


def work_of(folder: Path) -> Path:
    """Where the checkpoints of a run lie that will stand in `folder`."""
    return folder.with_name(f".{folder.name}.work")


def sweep(runs: Path) -> None:
    """Remove what killed processes left of finished runs and of their writing; runs in progress stay."""
    for path in list(runs.glob(".*")):
        folder = runs / path.name.lstrip(".")[:16]
        done = path == work_of(folder) and folder.exists()
        if (done or storage.is_leftover(path.name)) and not _in_progress(work_of(folder)):
            storage.remove(path)


def _in_progress(work: Path) -> bool:
    """Whether a process holds the folder of a run in progress."""
    try:
        with (work / "lock").open(encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def save_checkpoint(work: Path, key: str, step: int, tensors: Mapping[str, np.ndarray], metrics: str) -> None:
    """Keep all that a run needs to go on after `step` steps, and drop the older ones but the newest few."""
    with storage.whole_folder(work / f"step-{step:08d}") as folder:
        storage.save_tensors(folder / "checkpoint.safetensors", tensors)
        storage.write_text(folder / "metrics.csv", metrics)
        record = {"key": key, "step": step, "files": _hashes(folder.iterdir()), "kept": _hashes(_kept(work))}
        storage.write_sealed(folder / "checkpoint.json", record)
    for old in sorted(work.glob("step-*"))[:-KEPT_CHECKPOINTS]:
        storage.remove(old)


def keep_vocabulary(folder: Path, tokenizer: Mapping[str, Any] | None) -> None:
    """Put aside for the folder of a run that is about to be trained what its tokens are in words, so that the run can be
    read when its text is gone. tokenizer: its description; None where a run is of no text."""
    if tokenizer is not None and not folder.exists():
        storage.write_sealed(work_of(folder) / VOCABULARY, tokenizer)


def _kept(work: Path) -> list[Path]:
    """What a run in progress has put aside for its folder: weights, and what its tokens are in words."""
    return sorted([*work.glob("*.safetensors"), *work.glob(VOCABULARY)])


def _hashes(files: Iterable[Path]) -> dict[str, str]:
    return {path.name: storage.sha256_file(path) for path in sorted(files)}


def checkpoint_damage(folder: Path, key: str) -> str | None:
    """What is wrong with a checkpoint, or with what was put aside before it; None where all is whole."""
    try:
        record = storage.read_json(folder / "checkpoint.json")
        if record["key"] != key or folder.name != f"step-{record['step']:08d}":
            return f"{folder} is of another run"
        places = {folder / name: digest for name, digest in record["files"].items()}
        places |= {folder.parent / name: digest for name, digest in record.get("kept", {}).items()}
        for path, digest in places.items():
            if not path.is_file() or storage.sha256_file(path) != digest:
                return f"{path} is missing or was changed"
    except UserError as error:
        return str(error).split(";")[0]
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return f"{folder} cannot be read"
    return None


def drop_damaged(work: Path, key: str) -> list[str]:
    """Remove the checkpoints of a run in progress that are not whole. What was wrong with each, newest first."""
    found = []
    for folder in sorted(work.glob("step-*"), reverse=True):
        wrong = checkpoint_damage(folder, key)
        if wrong is not None:
            found.append(wrong)
            storage.remove(folder)
    return found


def load_checkpoint(work: Path, key: str) -> tuple[int, dict[str, np.ndarray], str] | None:
    """The newest whole checkpoint: (steps done, tensors, metrics so far). Damaged ones are passed over."""
    for folder in sorted(work.glob("step-*"), reverse=True):
        if checkpoint_damage(folder, key) is None:
            step = int(storage.read_json(folder / "checkpoint.json")["step"])
            tensors = storage.load_tensors(folder / "checkpoint.safetensors")
            return step, tensors, (folder / "metrics.csv").read_text(encoding="utf-8")
    return None


def finish(work: Path, destination: Path, run: RunConfig, record: Mapping[str, Any], metrics: str) -> None:
    """Make the run folder: what lies ready in `work`, the config, the log and run.json."""
    with storage.whole_folder(destination) as folder:
        for path in _kept(work):
            storage.copy_file(path, folder / path.name)
        storage.write_text(folder / "config.json", json.dumps(run.model_dump(mode="json"), indent=2) + "\n")
        storage.write_text(folder / "metrics.csv", metrics)
        storage.write_sealed(folder / "run.json", {**record, "files": _hashes(folder.iterdir())})
    storage.remove(work)
