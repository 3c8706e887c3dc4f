"""From a command line to a study: its suites, the corpora that are there, the folder, its lock, what fits the machine."""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import config
import phases
import pipeline
import storage
from data import corpus as corpora
from data.prepare import prepare as prepare_corpus
from data.sources import SOURCES, Source, SourceNotFound, find_local
from pipeline import Study, Task
from storage import UserError

STANDS_IN = ("shakespeare_char", "openwebtext")  # corpora that the embedded one may stand in for
EMBEDDED = "pydoc_char"
_CONDITION = re.compile(r"\s*conditions\.([^.=]+)")
FOLDERS = ("data", "runs", "frozen", "belief", "tables", "figures", "report", "made", "logs", "progress")


@dataclass(frozen=True)
class Request:
    """A command line, checked for form. See scripts/run_all.py for the meaning of each."""

    out: Path
    config: Path | None
    overrides: tuple[str, ...]
    only: tuple[str, ...]
    quick: bool
    seeds: int | None
    jobs: int
    force: bool
    publish: bool

    @property
    def is_default(self) -> bool:
        """Whether this is the study whose figures and pages are committed, in full."""
        everything = not self.only or set(self.only) >= {phase.name for phase in phases.choose(None)}
        return everything and not (self.overrides or self.quick or self.config or self.seeds)

    @property
    def corpus_given(self) -> bool:
        names = (text.partition("=")[0].strip() for text in self.overrides)
        return any(name == "corpus" or name.endswith(".corpus") for name in names)


def load_suites(request: Request) -> tuple[config.Suite, ...]:
    """The suites of the study. ConfigError for anything wrong in them.

    A `--set conditions.NAME.key=value` acts on the suites that have that condition.
    """
    paths = (
        [request.config]
        if request.config
        else [config.ROOT / path for path in phases.default_suites(request.only)]
    )
    every = [text for text in request.overrides if not _CONDITION.match(text)]
    found = []
    used: set[str] = set()
    for path in paths:
        own = request.overrides if len(paths) == 1 else every
        if len(paths) > 1 and len(every) < len(request.overrides):
            names = set(config.load_suite(path, quick=request.quick).conditions)
            own = tuple(
                text
                for text in request.overrides
                if not (match := _CONDITION.match(text)) or match[1].strip() in names
            )
        used |= set(own)
        found.append(config.load_suite(path, own, request.quick))
    for text in request.overrides:
        if text not in used:
            raise config.ConfigError(f"--set {text!r}: no suite of this study has that condition")
    if request.seeds is not None:
        found = [suite.model_copy(update={"seeds": request.seeds}) for suite in found]
    return tuple(found)


def find_corpora(
    request: Request, suites: Sequence[config.Suite], prepare: bool
) -> tuple[Study, dict[str, str], list[str]]:
    """The study on the corpora that there are.

    Args:
        prepare: make what is not there; otherwise nothing is written, and its tokens stay unknown.

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
    for suite in suites:
        for run in suite.conditions.values():
            pair = run.corpus, run.tokenizer
            blocks[pair] = max(blocks.get(pair, 0), run.model.block_size)
    for name, tokenizer in blocks:
        may_stand_in = name in STANDS_IN and not request.corpus_given
        used = EMBEDDED if may_stand_in and _missed_before(data, name) else name
        if prepare:
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
            corpora.check_block(ready, blocks[name, tokenizer])
            found[name, tokenizer] = (used, ready.tokens_sha256)
        else:
            state = states[corpora.folder_name(used, tokenizer)] = _state(used, tokenizer, data)
            tokens = None if state else corpora.load(used, data, tokenizer).tokens_sha256
            found[name, tokenizer] = (used, tokens)
        if used != name:
            said.append(
                f"corpus {name} is not to be had here; this study takes the embedded corpus {used} instead, and every "
                f"table and figure says so (to have {name}: put its text at data/{name}/input.txt)"
            )
    claims = request.config is None
    return Study(request.out, tuple(suites), found, _warning(request, suites), claims), states, said


def _missed_before(data: Path, name: str) -> bool:
    """Whether this study has begun on the embedded corpus, and the text has not turned up since."""
    if not (data / name / "not-found.json").is_file():
        return False
    with contextlib.suppress(UserError):
        corpora.load(name, data)
        return False
    return find_local(SOURCES[name], data / name / "input.txt") is None


def _state(name: str, tokenizer: str, data: Path) -> str:
    """ "" where a corpus stands ready, else why it has to be made."""
    if not (data / corpora.folder_name(name, tokenizer) / "meta.json").is_file():
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


def _warning(request: Request, suites: Sequence[config.Suite]) -> str:
    if not request.quick:
        return ""
    steps = max(run.last - run.first for suite in suites for run in suite.conditions.values())
    seeds = max(suite.seeds for suite in suites)
    return f"QUICK STUDY: {seeds} {'seed' if seeds == 1 else 'seeds'} of {steps} steps, too few to conclude from."


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold an output folder, made and found writable. UserError where it can't be, or another process holds it.

    The lock goes with the process, however it ends.
    """
    try:
        for name in FOLDERS:
            (out / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=out / name):
                pass
        handle = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"can't write to {out} ({reason}); choose another folder with --out") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{out} is in use by process {holder(out) or 'unknown'}; wait for it, or choose another folder with --out"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def holder(out: Path) -> int | None:
    """The process that works on an output folder now, if one does."""
    try:
        with (out / ".lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().strip() or 0) or None
    except (OSError, ValueError):
        pass
    return None


def check_memory(suites: Sequence[config.Suite], jobs: int) -> None:
    """UserError, before anything is made, where so many runs at once need more memory than the machine has."""
    need = jobs * max(_memory_bytes(run) for suite in suites for run in suite.conditions.values())
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if need > have:
        raise UserError(
            f"{jobs} runs at once need about {need / 1e9:,.1f} GB of memory, this machine has {have / 1e9:,.1f}; "
            f"use fewer --jobs or a smaller model"
        )


def check_disk(study: Study, tasks: Sequence[Task]) -> None:
    """UserError, before anything is trained, where the runs of some tasks need more disk than is free."""
    need = sum(_disk_bytes(task.arguments["run"]) for task in tasks if task.kind == "train")
    free = shutil.disk_usage(study.out).free
    if need > free:
        raise UserError(
            f"the runs need about {need / 1e9:,.1f} GB in {study.out}, {free / 1e9:,.1f} are free; make room or choose "
            f"another folder with --out"
        )


def _memory_bytes(run: config.RunConfig) -> float:
    """Weights, gradients, two moments and a copy; activations; states; and 0.3 GB for the program."""
    model, tokens = run.model, run.train.batch_size * run.model.block_size
    layer = 34 * model.n_embd + 4 * model.n_head * model.block_size
    states = run.train.steps * run.self_state.dim if run.self_state.enabled else 0
    return 20.0 * pipeline.weights(run) + 4.0 * tokens * model.n_layer * layer + 8.0 * states + 3e8


def _disk_bytes(run: config.RunConfig) -> float:
    """The run folder, with 200 bytes of log a step."""
    states = run.train.steps * run.self_state.dim * 4 if run.self_state.enabled else 0
    return 4.0 * pipeline.weights(run) * (1 + len(run.log.keep_steps)) + 200.0 * run.train.steps + states
