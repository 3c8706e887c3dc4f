"""From a command line to a study: its suites, the corpora that are there, the folder, its lock, what fits the machine."""

import contextlib
import fcntl
import functools
import os
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base import machine, storage
from base.errors import UserError
from configs import size, toml_file
from configs.run import RunConfig
from configs.suite import Suite, load_suite
from configs.toml_file import ConfigError
from data import corpus as corpora
from data.prepare import prepare as prepare_corpus
from data.sources import SOURCES, Source, SourceNotFound, find_local
from runs import folder as run_folder
from runs import number_type
from study import phases, run_card
from study.plan import Step, Study, texts

STANDS_IN = ("shakespeare_char", "openwebtext")  # corpora that the embedded one may stand in for
EMBEDDED = "pydoc_char"
QUICK = "QUICK STUDY: too few seeds and too few steps to conclude from."
MOST_RUNS = 20_000  # whose plan takes 200 MB and half a minute
_CONDITION = re.compile(r"\s*conditions\.([^.=]+)")
FOLDERS = ("data", "runs", "probes", "tables", "figures", "report", "made", "logs", "progress")


@dataclass(frozen=True)
class Request:
    """A command line, checked for form. See scripts/run_all.py for the meaning of each.

    jobs: 0, with a scheduler, for as many as its workers have threads.
    """

    out: Path
    config: Path | None
    overrides: tuple[str, ...]
    only: tuple[str, ...]
    quick: bool
    seeds: int | None
    jobs: int
    force: bool
    publish: bool
    scheduler: str | None = None
    conditions: tuple[str, ...] = ()
    verbose: bool = False

    @property
    def alone(self) -> bool:
        """Whether the study is of the suites asked for and no others: what is changed in them need not fit the others."""
        named = phases.default_suites(self.only, alone=True) != phases.default_suites(())
        return bool(self.conditions or (self.overrides and named))

    @property
    def is_default(self) -> bool:
        """Whether this is the study whose figures and pages are committed, in full."""
        if self.overrides or self.quick or self.config or self.seeds or self.conditions:
            return False
        return phases.choose(self.only) >= phases.choose(())

    @property
    def corpus_given(self) -> bool:
        names = (text.partition("=")[0].strip() for text in self.overrides)
        return any(name == "corpus" or name.endswith(".corpus") for name in names)


def load_suites(request: Request) -> tuple[Suite, ...]:
    """The suites of the study. ConfigError for anything wrong in them, UserError for a run too large for this machine.

    A `--set conditions.NAME.key=value` acts on the suites that have that condition.
    """
    paths = [request.config] if request.config else list(phases.default_suites(request.only, request.alone))
    every = [text for text in request.overrides if not _CONDITION.match(text)]
    found = []
    used: set[str] = set()
    for path in paths:
        own = request.overrides if len(paths) == 1 else every
        if len(paths) > 1 and len(every) < len(request.overrides):
            names = set(load_suite(path, quick=request.quick).conditions)
            own = tuple(
                text
                for text in request.overrides
                if not (match := _CONDITION.match(text)) or match[1].strip() in names
            )
        used |= set(own)
        found.append(load_suite(path, own, request.quick))
        _check_name(found[-1])
        size.check(found[-1])
    for text in request.overrides:
        if text not in used:
            raise ConfigError(f"--set {text!r}: no suite of this study has that condition")
    if request.conditions:
        known = {name for suite in found for name in suite.conditions}
        for name in request.conditions:
            if name not in known:
                raise ConfigError(toml_file.unknown("condition", name, known, "in --condition"))
        here = [(suite, [name for name in request.conditions if name in suite.conditions]) for suite in found]
        found = [suite.only(names) for suite, names in here if names]
    if request.seeds is not None:
        found = [suite.model_copy(update={"seeds": request.seeds}) for suite in found]
    runs = sum(len(suite.conditions) * suite.seeds for suite in found)
    if runs > MOST_RUNS:
        raise ConfigError(
            f"this study would have {runs:,} runs, and {MOST_RUNS:,} at most are planned; take fewer seeds"
        )
    return tuple(found)


def levelled(request: Request, suites: Sequence[Suite]) -> list[str]:
    """A line for each `--set` that takes from some conditions what they differ in."""
    said = []
    for text in request.overrides:
        keys = [part.strip() for part in text.partition("=")[0].split(".")]
        if _CONDITION.match(text) or keys[0] not in RunConfig.model_fields:
            continue
        others = [other for other in request.overrides if other != text and not _CONDITION.match(other)]
        for suite in suites:
            with contextlib.suppress(ConfigError):  # no study without it
                before = load_suite(Path(suite.path), others, request.quick).conditions
                values = {name: _value(before[name], keys) for name in suite.conditions}
                usual = statistics.mode(values.values())
                apart = [f"`{name}`" for name, value in values.items() if value != usual]
                if apart:
                    said.append(
                        f"--set {text} acts on every condition of {suite.name}, also on {', '.join(apart[:4])}"
                        f"{f' and {len(apart) - 4} more' if len(apart) > 4 else ''}, whose own {'.'.join(keys)} is another; "
                        f"--set conditions.NAME.{text.strip()} acts on one"
                    )
    return said


def _value(run: RunConfig, keys: Sequence[str]) -> str:
    """A field of a run, in text."""
    found: Any = run.model_dump(mode="json")
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return str(found)


def _check_name(suite: Suite) -> None:
    """ConfigError where a suite of the user's own would write to where the study does, or to where every study does."""
    taken = {*FOLDERS, phases.PUBLISHED, *phases.suite_names(), *(phase.name for phase in phases.declared())}
    if suite.name in taken and not phases.is_declared(suite.path):
        raise ConfigError(
            f"{suite.path} has the name {suite.name!r}, which is the study's own; give it another, since what a suite makes "
            "goes by its name"
        )


def find_corpora(
    request: Request, suites: Sequence[Suite], prepare: Sequence[Suite] = ()
) -> tuple[Study, dict[str, str], list[str]]:
    """The study on the corpora that there are.

    Args:
        prepare: suites whose corpora are made where they are not there; of others nothing is written, and the tokens
            of what is not there stay unknown.

    Returns:
        The study; for each corpus, "" if it stands ready or else why it has to be made; and lines to tell the user.

    Raises:
        UserError: a text is nowhere to be had, or is not what it should be.
    """
    found: dict[tuple[str, str], tuple[str, str | None]] = {}
    states: dict[str, str] = {}
    said: list[str] = []
    data = request.out / "data"
    blocks: dict[tuple[str, str], int] = {}
    wanted = texts(prepare)
    for run in (run for suite in suites for run in suite.conditions.values()):
        if run.text is not None:
            blocks[run.text] = max(blocks.get(run.text, 0), run.model.block_size)
    for name, tokenizer in blocks:
        may_stand_in = name in STANDS_IN and not request.corpus_given
        used = EMBEDDED if may_stand_in and _missed_before(data, name) else name
        if (name, tokenizer) in wanted:
            states[corpora.folder_name(used, tokenizer)] = _state(used, tokenizer, data)
            try:
                ready = prepare_corpus(used, data, tokenizer)
            except SourceNotFound as error:
                if not may_stand_in:
                    raise
                del states[corpora.folder_name(used, tokenizer)]
                storage.write_json(data / name / "not-found.json", {"reason": str(error)})
                used = EMBEDDED
                states[corpora.folder_name(used, tokenizer)] = _state(used, tokenizer, data)
                ready = prepare_corpus(used, data, tokenizer)
            ready.check_block(blocks[name, tokenizer])
            found[name, tokenizer] = (used, ready.tokens_sha256)
        else:
            state = states[corpora.folder_name(used, tokenizer)] = _state(used, tokenizer, data)
            tokens = None if state else corpora.load(used, data, tokenizer).tokens_sha256
            found[name, tokenizer] = (used, tokens)
        if used != name:
            said.append(
                f"corpus {name} is not to be had here; this study takes the embedded corpus {used} instead, and every "
                f"table and figure says so: {_why_missed(data, name)}"
            )
    claims = request.config is None and not request.alone
    runs = [run for suite in suites for run in suite.conditions.values() if run.train.dtype == "auto"]
    shapes = {number_type.shape_of(run): run for run in runs}
    types = {shape: number_type.choose(request.out, run, bool(prepare)) for shape, run in shapes.items()}
    changed = [f"Changed by --set: {', '.join(request.overrides)}."] if request.overrides else []
    warning = " ".join([QUICK] * request.quick + changed)
    return Study(request.out, tuple(suites), found, warning, claims, types), states, said


def _missed_before(data: Path, name: str) -> bool:
    """Whether this study has begun on the embedded corpus, and the text has not turned up since."""
    if not (data / name / "not-found.json").is_file():
        return False
    with contextlib.suppress(UserError):
        corpora.load(name, data)
        return False
    return find_local(SOURCES[name], data / name / "input.txt") is None


def _why_missed(data: Path, name: str) -> str:
    """Why the text of a corpus was not to be had, with the path, the URL and the checksum that it would need."""
    try:
        return str(storage.read_json(data / name / "not-found.json")["reason"])
    except (UserError, LookupError, TypeError):
        return f"put its text at data/{name}/input.txt"


def _state(name: str, tokenizer: str, data: Path) -> str:
    """ "" where a corpus stands ready, else why it has to be made."""
    folder = data / corpora.folder_name(name, tokenizer)
    if not any((folder / file).exists() for file in ("meta.json", "tokens.bin")):
        return "new"
    try:
        ready = corpora.load(name, data, tokenizer)
    except UserError as error:
        return f"not whole: {str(error).split(';')[0]}"
    source = SOURCES.get(name) or Source(name)
    if source.build is None and source.sha256 is None:
        text = find_local(source, data / name / "input.txt")
        if text is not None and storage.sha256_bytes(text.content) != ready.source_sha256:
            return f"data changed: {text.place}"
    return ""


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold an output folder, made and found writable. UserError where it can't be, or another process holds it.

    The lock goes with the process, however it ends.
    """
    place = out
    try:
        for name in ("", *FOLDERS):
            place = out / name
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place):
                pass
        handle = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"can't write to {place} ({reason}); choose another folder with --out") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{out} is in use by process {holder(out) or 'unknown'}; wait for it, or choose another folder with --out"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        _tidy(out)
        yield
    finally:
        os.close(handle)


def _tidy(out: Path) -> None:
    """Clear away what killed studies left, once every folder is found to be writable."""
    for place, folders, _ in os.walk(out):
        if not os.access(place, os.W_OK | os.X_OK):
            raise UserError(f"can't write to {place}; make it writable, or choose another folder with --out")
        folders[:] = [name for name in folders if Path(place, name) != out / "runs"]
    for name in set(FOLDERS) - {"runs"}:
        storage.sweep(out / name)
    run_folder.sweep(out / "runs")
    storage.sweep_of(out / run_card.FILE)


def holder(out: Path) -> int | None:
    """The process that works on an output folder now, if one does."""
    number = None
    with contextlib.suppress(OSError, ValueError), (out / ".lock").open(encoding="utf-8") as file:
        for _ in range(10):  # one that has only just begun may not have written its number yet
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            except BlockingIOError:
                file.seek(0)
                number = int(file.read().strip() or 0) or None
            if number is not None and _alive(number):
                break
            time.sleep(0.02)
    return number


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def check_memory(suites: Sequence[Suite], jobs: int) -> None:
    """UserError, before anything is made, where so many runs at once need more memory than the machine has."""
    need = jobs * max(size.memory(run) for suite in suites for run in suite.conditions.values())
    machine.check(need, f"{jobs} runs at once need", "use fewer --jobs or a smaller model")


def check_disk(study: Study, steps: Sequence[Step], jobs: int) -> None:
    """UserError, before anything is trained, where the runs of some steps need more disk than is free."""
    runs: list[RunConfig] = [step.arguments["run"] for step in steps if step.kind == "train"]

    @functools.cache
    def vocabulary(text: tuple[str, str]) -> int:
        return corpora.load(text[0], study.out / "data", text[1]).vocab_size

    sized = [(run, vocabulary(run.text) if run.text else size.tokens_of(run)) for run in runs]
    kept = run_folder.KEPT_CHECKPOINTS
    need = sum(size.disk(*one) for one in sized)
    need += jobs * max((size.disk_on_the_way(*one, kept) for one in sized), default=0.0)
    free = shutil.disk_usage(study.out).free
    if need > free:
        raise UserError(
            f"the runs need about {need / 1e9:,.1f} GB in {study.out}, {free / 1e9:,.1f} are free; make room or choose "
            f"another folder with --out"
        )
