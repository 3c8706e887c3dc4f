"""A file of three claims, the tables of a study that they are judged on, and the page of both."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.claims.file import load
from experiments.claims.judge import judged
from experiments.claims.page import EXPERIMENT
from experiments.kit.tables import Tables
from tests.made_runs import assert_tables, page_of, read_from

NONE: dict[str, Any] = {"results": {}, "claims": {}}

FEW = """\
[registration]
seeds = 8
seen = ["old"]
known = "Nothing."

[families.primary]
title = "Primary"
asks = "Does it?"

[claims.beats]
statement = "It beats its placebos."
short = "beats placebos"
origin = "published"
said = "random ones don't"
published = 0.35
family = "primary"
unit = "nats"
endpoint = { suite = "s", table = "effects", column = "size", where = { reader = "learned" } }
placebo = { where = { reader = ["rotated", "untrained"] }, by = "reader" }
control = "A placebo reaches as much."
direction = "greater"
smallest = 0.05
why = "Small."
test = "placebo_ranks"

[claims.gains]
statement = "It gains."
short = "gains"
origin = "ours"
family = "primary"
unit = "nats"
endpoint = { suite = "s", table = "losses", column = "loss", where = { condition = "self" } }
minus = { where = { condition = "vanilla" } }
beside = { where = { condition = "bias" } }
direction = "less"
smallest = 0.02
why = "One per cent."
test = "sign_flip"

[claims.slower]
statement = "It is slower."
short = "slower"
origin = "ours"
family = "primary"
unit = "steps"
endpoint = { suite = "s", table = "losses", column = "steps", where = { condition = "self" } }
minus = { where = { condition = "vanilla" } }
direction = "greater"
smallest = 0.25
why = "A quarter of a step."
test = "sign_flip"
"""
READ = """
[readings.gains]
note = "Mind the bias."
beside = [{ label = "strongest", suite = "s", table = "losses", column = "loss", among = ["bias", "vanilla", "none"] }]
"""


def file_of(folder: Path, *changes: tuple[str, str], text: str = FEW) -> Path:
    """A file of claims, some of its words changed."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "claims.toml"
    path.write_text(text)
    return path


def study(folder: Path, seeds: int = 8, gain: float = -0.1, surplus: float = 1.0) -> Tables:
    """Tables of a suite "s" in which a state gains and steers by so much; its steps are not known in seed 1."""
    random = np.random.default_rng(7)
    effects: list[tuple[Any, ...]] = []
    losses: list[tuple[Any, ...]] = []
    for seed in range(1, seeds + 1):
        for reader, count in (("rotated", 10), ("untrained", 5)):
            effects += [(seed, reader, 1 + 0.1 * random.standard_normal()) for _ in range(count)]
        effects.append((seed, "learned", 1 + surplus + 0.01 * seed))
        noise = 0.01 * random.standard_normal()
        losses += [
            (seed, "self", 2 + gain + noise, np.nan if seed == 1 else 30),
            (seed, "vanilla", 2.0, 20),
            (seed, "bias", 1.99, 20),
        ]
    runs = pd.DataFrame({"seed": range(1, seeds + 1), "key": [f"k{seed}" for seed in range(seeds)]})
    runs = runs.assign(suite="s", condition="self", steps=9, dtype="float32", corpus="x", parameters=1000)
    tables = {
        "effects": pd.DataFrame(effects, columns=["seed", "reader", "size"]),
        "losses": pd.DataFrame(losses, columns=["seed", "condition", "loss", "steps"]),
        "runs": runs,
    }
    return read_from(folder, "s", tables).of("claims")


def made(
    folder: Path, *changes: tuple[str, str], text: str = FEW, **planted: float
) -> dict[str, pd.DataFrame]:
    """The tables of claims, from a file and a study."""
    return judged(load(file_of(folder, *changes, text=text)), NONE, study(folder / "t", **planted))  # type: ignore[arg-type]


def row(tables: dict[str, pd.DataFrame], name: str) -> Any:
    return tables["claims"].set_index("id").loc[name]


def many(count: int, direction: str = "less") -> str:
    """A file with so many further claims in a second family."""
    head = '\n[families.rest]\ntitle = "Rest"\nasks = "And?"\n'
    (block,) = re.findall(r"\[claims\.gains\].*?\n\n", FEW, re.S)
    block = block.replace('"less"', f'"{direction}"').replace('"primary"', '"rest"')
    return FEW + head + "".join(block.replace("gains", f"gains_{index}", 1) for index in range(count))


def page_from(folder: Path, tables: dict[str, pd.DataFrame]) -> str:
    """The page, each row of its tables checked."""
    text = page_of(EXPERIMENT, folder, tables)
    assert_tables(text)
    return text
