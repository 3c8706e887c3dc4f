"""steer.html: one finished run in one page, to be steered by hand in a browser, from disk and without a network.

The model, its readers and its states stand in the page as float16; network.js computes with them what model.py does. Every
reader has a dial of its own, whose two directions are found for learned and placebo readers alike, on train text, as in the
held-out protocol of frozen_test.py. What the study measured stands beside it, from its tables.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from base.storage import UserError
from configs.probes.frozen import FrozenTest
from configs.run import RunConfig
from data.corpus import Corpus
from data.tokens import Tokens
from experiments.kit.runs import open_run
from experiments.kit.style import REGIMES
from experiments.kit.tables import CALM, Tables, stretches
from experiments.kit.words import number
from frozen_test import placebos
from probes.instrument import ALL, Batch, Instrument, Subject, batches, load_subject
from probes.presets import regime_mean
from probes.steering import dimension_pair, unit
from runs.state import check_corpus, models_arrays
from study.steer_page.beside import KINDS, beside
from study.steer_page.choice import ASSETS, HOME, TEMPLATE, misfit

DRAWS = 3  # scrambled readers to play against, and as many untrained ones
PROMPTS, PROMPT, TEXTS = 8, 16, 4  # texts to go on from, their length, and texts that loss is measured on
POINTS = 400  # of a run that are shown, at most
# So many up to a run's largest norm; so many times that far is looked where a dial saturates
DOSES, FARTHEST = 4, 8
HATCHED = 1.5  # where a dial ends, over where it saturates
CORRUPTED = "bewilderment"
LABELS = {
    "zero": "none",
    "own": "as training ended",
    "calm": "calm average",
    "corrupted": "average while targets were corrupted",
}
"""What the page calls the states of this run that can be put in."""


@dataclass(frozen=True)
class Reader:
    """A reader (C, D) to turn a dial of: learned, rotated or untrained. pair (2, D): unit states, surer and less sure."""

    kind: str
    matrix: np.ndarray
    pair: np.ndarray


def page(
    folder: Path, step: int, corpus: Tokens, others: Sequence[Path], tables: Tables, warning: str = ""
) -> str:
    """The page of a finished run, as HTML.

    Args:
        folder: a run folder.
        step: the last step, or one of the run's log.keep_steps: the weights after so many steps are shown.
        corpus: what it was trained on.
        others: folders of runs of other seeds; the last state of each can be put in.
        tables: of the study, for what stands beside; they may hold nothing.
        warning: a line that comes first.

    Raises:
        UserError: no whole run, weights not kept, another corpus, or a run that no page can be made of.
    """
    subject = load_subject(folder, step)
    if not isinstance(corpus, Corpus) or misfit(subject.run):
        raise UserError(
            f"{folder}: no page can be made of this run, since {misfit(subject.run)}; take another"
        )
    check_corpus(folder, corpus)
    readers = readers_of(subject, corpus)
    dev = batches(subject, corpus, "dev", 1)
    dials = dial(subject, readers[0], dev)
    usual = np.array([dials["usual"]])
    here = {
        kind: float(np.mean([spreads(subject, one, usual, dev) for one in readers if one.kind == kind]))
        for kind in KINDS
    }
    arrays = {
        **models_arrays({"gpt": subject.gpt}),
        **{f"reader.{at}": reader.matrix for at, reader in enumerate(readers)},
    }
    arrays = {name.removeprefix("gpt."): array for name, array in arrays.items()}
    facts = {
        "sizes": {**sizes(subject), "dim": subject.run.self_state.dim},
        "arrays": [[name, array.size] for name, array in arrays.items()],
        "signs": [corpus.decode([token]) for token in range(corpus.vocab_size)],
        "readers": [
            {"kind": reader.kind, "name": f"reader.{at}", "surer": plain(reader.pair[0]), "unsure": plain(reader.pair[1])}
            for at, reader in enumerate(readers)
        ],
        "dial": dials,
        "presets": {name: plain(state) for name, state in presets(subject).items()},
        "others": last_states(others, subject.run.self_state.dim),
        "timeline": timeline(subject, open_run("", "", subject.run.seed, folder).metrics()),
        **samples(subject, corpus),
    }  # fmt: skip
    return filled(facts, packed(arrays), subject.run, here, tables, warning)


def sizes(subject: Subject) -> dict[str, int]:
    model = subject.run.model
    found = {name: getattr(model, name) for name in ("n_layer", "n_head", "n_embd", "block_size")}
    return {**found, "vocab_size": subject.gpt.vocab_size}


def readers_of(subject: Subject, corpus: Corpus) -> list[Reader]:
    """The learned reader, then DRAWS scrambled and DRAWS untrained ones, each with directions found in the same way."""
    settings, dim = FrozenTest(), subject.run.self_state.dim
    drawn = batches(subject, corpus, "train", 1)
    instrument = Instrument(subject.gpt)

    def pair(reader: np.ndarray) -> np.ndarray:
        swept = instrument.measure(settings.magnitude * reader.T, drawn).entropy[ALL].mean(-1)  # (D,)
        return unit(dimension_pair(swept, min(settings.top, dim // 2)))

    found = [("learned", subject.reader)]
    found += [
        (kind, reader)
        for kind, _, reader in placebos(subject.reader, ("dimension",), subject.run.seed, DRAWS)
    ]
    found.sort(key=lambda one: KINDS.index(one[0]))
    return [Reader(kind, reader, pair(reader)) for kind, reader in found]


def spreads(subject: Subject, reader: Reader, norms: np.ndarray, drawn: list[Batch]) -> np.ndarray:
    """Entropy (norms,) of a reader's less sure direction minus that of its surer one, nats, at some norms."""
    states = (norms[:, None, None] * reader.pair).reshape(-1, reader.pair.shape[1])
    entropy = Instrument(subject.gpt).measure(states @ reader.matrix.T, drawn).entropy[ALL].mean(-1)
    return entropy.reshape(-1, 2) @ [-1, 1]


def dial(subject: Subject, learned: Reader, drawn: list[Batch]) -> dict[str, float | None]:
    """Norms that the dials show: the run's largest, its usual one, from which on they level off (see there), and their end.

    usual: mean over the last half of the steps.
    """
    norms = np.linalg.norm(subject.states.astype(np.float64), axis=1)
    largest = float(norms.max()) or FrozenTest().magnitude
    doses = largest / DOSES * np.arange(FARTHEST * DOSES + 1)
    level = levels_off(doses, spreads(subject, learned, doses, drawn))
    end = max(largest, HATCHED * level) if level else largest
    return {
        **{"largest": largest, "usual": float(norms[len(norms) // 2 :].mean())},
        **{"saturates": level, "end": end},
    }


def levels_off(doses: np.ndarray, spread: np.ndarray) -> float | None:
    """The dose from which on a spread grows less than half as fast as from zero; None where it does not."""
    slopes = np.diff(spread)
    flat = np.flatnonzero(slopes < slopes[0] / 2)
    return float(doses[flat[0]]) if len(flat) else None


def presets(subject: Subject) -> dict[str, np.ndarray]:
    """States (D,) of this run to put in, by what the page calls them; those of regimes that acted alone."""
    found = {"zero": np.zeros(subject.states.shape[1]), "own": subject.states[-1]}
    for name, regime in (("calm", CALM), ("corrupted", CORRUPTED)):
        try:
            found[name] = regime_mean(subject.run, subject.states, regime)
        except UserError:  # it never acted
            continue
    return found


def last_states(folders: Sequence[Path], dim: int) -> dict[int, list[float]]:
    """The state that each of some runs ended with, by seed. UserError for one of another size."""
    found = {}
    for folder in folders:
        run = open_run("", "", 0, folder)
        states = run.states()
        if states is None or states.shape[1] != dim:
            raise UserError(f"{folder} has no state of {dim} dimensions to put in; take another")
        found[run.config.seed] = plain(states[-1])
    return dict(sorted(found.items()))


def timeline(subject: Subject, log: pd.DataFrame) -> dict[str, Any]:
    """The course of a run: every so many steps the state (D,) at the first of them, its norm, and their mean training loss."""
    log = log.iloc[: len(subject.states)]
    every = -(-len(log) // POINTS)
    shown = subject.states[::every]
    windows = [
        {"label": REGIMES[regime].gloss if regime in REGIMES else regime, "start": start, "end": end}
        for regime, start, end in stretches(log)
    ]
    first = subject.run.first
    return {
        "steps": log["step"].tolist()[::every],
        "states": [plain(state) for state in shown],
        "norm": plain(np.linalg.norm(shown, axis=1)),
        "loss": plain(log["loss"].groupby(np.arange(len(log)) // every).mean().to_numpy()),
        "windows": windows,
        "first": first,
        "last": first + len(log),
    }


def samples(subject: Subject, corpus: Corpus) -> dict[str, Any]:
    """Held-out text: prompts, each from the start of a line where there is one, and [tokens, targets] to measure on."""
    ((x, y),) = batches(subject, corpus, "heldout", 1, TEXTS + PROMPTS)
    most = min(PROMPT, x.shape[1] // 2)
    prompts = []
    for row in x[TEXTS:].tolist():
        signs = corpus.decode(row[: len(row) - most])
        prompts.append(row[(begin := signs.find("\n") + 1) : begin + most])
    texts = zip(x[:TEXTS].tolist(), y[:TEXTS].tolist(), strict=True)
    return {"prompts": prompts, "texts": list(texts)}


def plain(numbers: np.ndarray) -> list[float]:
    """Numbers as JSON, to four digits."""
    return [float(f"{one:.4g}") for one in numbers]


def packed(arrays: Mapping[str, np.ndarray]) -> str:
    """Arrays one after another, as float16 in base64. UserError where a number is too large for that."""
    found = np.concatenate([array.ravel() for array in arrays.values()])
    if np.abs(found).max() >= np.finfo(np.float16).max:
        raise UserError("a weight is too large for float16; no page can be made of this run")
    return base64.b64encode(found.astype("<f2").tobytes()).decode()


def filled(
    facts: Mapping[str, Any],
    weights: str,
    run: RunConfig,
    here: Mapping[str, float],
    tables: Tables,
    warning: str,
) -> str:
    """The template with everything in it: words, style, scripts, facts and weights."""
    loader = jinja2.FileSystemLoader(HOME)
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    top = round(1 / max(facts["readers"][0]["surer"]) ** 2)  # equal components of a unit direction
    made.filters["number"] = number
    parameters = sum(size for name, size in facts["arrays"] if not name.startswith("reader."))
    assets = {path.replace(".", "_"): (HOME / path).read_text(encoding="utf-8") for path in ASSETS}
    text = json.dumps(facts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return made.get_template(TEMPLATE).render(
        facts=facts,
        facts_json=text,
        weights=weights,
        run=run,
        here=here,
        study=beside(tables),
        warning=warning,
        labels=LABELS,
        parameters=parameters,
        most=np.log(facts["sizes"]["vocab_size"]),
        top=top,
        **assets,
    )
