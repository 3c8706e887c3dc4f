"""The tokens that a run is trained on: a prepared text, or a process that is drawn from."""

from pathlib import Path
from typing import Any

from configs.process import Process
from configs.rows import Rows
from configs.run import RunConfig
from data import corpus
from data import prepare as texts
from data.corpus import Corpus
from data.process import Generated, generated
from data.rows import RowSource, row_source

Tokens = Corpus | Generated | RowSource


def drawn_from(name: str, process: Process, seed: int) -> Generated | RowSource:
    """A process as a corpus, for the runs of a seed."""
    return row_source(name, process, seed) if isinstance(process, Rows) else generated(name, process, seed)


def described(tokens: Tokens) -> dict[str, Any] | None:
    """What `data.tokenizers.restore` makes the tokenizer of a text again from; None for a process, which has none."""
    return tokens.tokenizer.describe() if isinstance(tokens, Corpus) else None


def load(run: RunConfig, data_dir: Path) -> Tokens:
    """The tokens of a run whose text is prepared. UserError as of `data.corpus.load`."""
    if run.process is not None:
        return drawn_from(run.corpus, run.process, run.seed)
    return corpus.load(run.corpus, data_dir, run.tokenizer)


def prepare(run: RunConfig, data_dir: Path) -> Tokens:
    """The tokens of a run, its text prepared if need be. UserError as of `data.prepare.prepare`."""
    if run.process is not None:
        return drawn_from(run.corpus, run.process, run.seed)
    return texts.prepare(run.corpus, data_dir, run.tokenizer)
