"""What one arithmetic makes of a suite beside another: statistics by step, and the values of tables by seed.

Beside each difference stands what a change of the seed makes, in the arithmetic that is compared with.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from configs.suite import Suite
from experiments.kit import words as kit_words
from study import agreement
from study.agreement import SEED

LOGGED = (
    *("loss", "entropy", "top1", "grad_norm", "heldout_loss"),
    *("state_norm", "state_drift", "state_effect", "bias_norm"),
)
ENDS = (
    1,
    10,
    100,
    1000,
)  # last steps of the stretches that differences are averaged over, before the run's own last
SKIPPED = ("metrics", "state_path")  # told by step, or not committed


def page(folders: Mapping[str, Path], words: Mapping[str, str], suite: Suite) -> str:
    """The measurement as Markdown. folders: of each arithmetic, the one compared with first; words: what each is."""
    reference, *others = folders
    last = max(run.last for run in suite.conditions.values())
    ends = [*(end for end in ENDS if end < last), last]
    logs = {
        name: pd.read_csv(folder / "tables" / suite.name / "metrics.csv") for name, folder in folders.items()
    }
    seeds = {name: sorted(set(log[SEED])) for name, log in logs.items()}
    lines = [f"`{reference}`: {words[reference]}, {kit_words.plural(len(seeds[reference]), 'seed')}."]
    for name in others:
        lines.append(f"`{name}`: {words[name]}, {kit_words.plural(len(seeds[name]), 'seed')}.")
    head = ["mean distance", *(f"step {_stretch(ends, place)}" for place in range(len(ends)))]
    for name in others:
        rows = [
            [metric, *map(_number, of_logs(logs[reference], logs[name], metric, ends))] for metric in LOGGED
        ]
        lines += [
            "",
            f"**Logged statistics, `{name}` against `{reference}`, same seed**",
            "",
            kit_words.table(head, rows),
        ]
    rows = [[metric, *map(_number, of_seeds(logs[reference], metric, ends))] for metric in LOGGED]
    lines += ["", f"**The same between two seeds of `{reference}`**", "", kit_words.table(head, rows)]
    rows = []
    for name in others:
        found = of_tables(*(folders[one] / "tables" / suite.name for one in (reference, name)))
        rows.append([f"`{name}`", *summary(found)])
    head = ["against the reference", "values", "equal", "median", "95 %", "99 %", "largest"]
    head += [f"beyond {agreement.ROUNDING} of the usual limit", "beyond the usual limit", "beyond the widest"]
    lines += [
        "",
        "**Values of the tables, distance in standard deviations between seeds**",
        "",
        kit_words.table(head, rows),
    ]
    return "\n".join(lines)


def _stretch(ends: Sequence[int], place: int) -> str:
    first = ends[place - 1] if place else 0
    return str(first) if ends[place] - first == 1 else f"{first} to {ends[place] - 1}"


def of_logs(one: pd.DataFrame, other: pd.DataFrame, metric: str, ends: Sequence[int]) -> list[float]:
    """Mean absolute difference of a logged statistic over each stretch of steps, of the runs that both have."""
    places = ["condition", SEED, "step"]
    both = one[[*places, metric]].merge(other[[*places, metric]], on=places, suffixes=("", "_other"))
    both["distance"] = (both[metric] - both[f"{metric}_other"]).abs()
    return [
        float(both.loc[(both["step"] >= first) & (both["step"] < end), "distance"].mean())
        for first, end in itertools.pairwise((0, *ends))
    ]


def of_seeds(log: pd.DataFrame, metric: str, ends: Sequence[int]) -> list[float]:
    """The same between the runs of two seeds, over all pairs."""
    pairs = [
        of_logs(log[log[SEED] == one], log[log[SEED] == two].assign(**{SEED: one}), metric, ends)
        for one, two in itertools.combinations(sorted(set(log[SEED])), 2)
    ]
    return [float(value) for value in np.mean(pairs, axis=0)] if pairs else [math.nan] * len(ends)


def of_tables(reference: Path, other: Path) -> pd.DataFrame:
    """Each number in each row of a seed that two makings of a suite's tables have.

    Returns:
        table, column, distance; `sd` and `freedom`, the spread over seeds of the former (agreement.narrow); the limits
        `rounding`, `usual`, `widest` (agreement.allowed).
    """
    parts = []
    for path in sorted(reference.glob("*.csv")):
        old, new = agreement.read(path), agreement.read(other / path.name)
        if path.stem not in SKIPPED and SEED in old and SEED in new and len(old) and len(new):
            parts += list(_of_table(path.stem, old, new))
    columns = ["table", "column", "distance", "sd", "freedom", "rounding", "usual", "widest"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _of_table(name: str, old: pd.DataFrame, new: pd.DataFrame) -> Iterator[pd.DataFrame]:
    keys = agreement.telling(old, new)
    before, after = agreement.placed(old, keys), agreement.placed(new, keys)
    both = before.index.intersection(after.index, sort=False)
    others = agreement.NEEDS_OTHERS.get(name, ("",))
    for column in old.columns.difference([*keys, *agreement.UNLIKE, *agreement.ORIGIN, *others]):
        if others and column in new and agreement.is_number(old[column]) and agreement.is_number(new[column]):
            left, right = (agreement.numbers(table.loc[both, column]).to_numpy() for table in (before, after))
            fresh = after.loc[both]
            sd, freedom = agreement.narrow(before, fresh, column)
            rounding, _ = agreement.allowed(before, fresh, column, agreement.ROUNDING)
            usual, widest = agreement.allowed(before, fresh, column, agreement.SEEDS)
            found = pd.DataFrame({"table": name, "column": column, "distance": np.abs(left - right)})
            yield found.assign(sd=sd, freedom=freedom, rounding=rounding, usual=usual, widest=widest).dropna()


def summary(found: pd.DataFrame) -> list[str]:
    """What `page` says of an arithmetic, from `of_tables`: of the values that differ between seeds at all."""
    spread = found[(found["sd"] > 0) & (found["freedom"] > 0)]
    if spread.empty:
        return [kit_words.DASH] * 9
    sds = (spread["distance"] / spread["sd"]).to_numpy(float)
    known = found[found["freedom"] > 0]
    beyond = [float((known["distance"] > known[limit]).mean()) for limit in ("rounding", "usual", "widest")]
    sizes = [*(np.quantile(sds, share) for share in (0.5, 0.95, 0.99)), sds.max()]
    return [
        str(len(spread)),
        f"{(sds == 0).mean():.1%}",
        *(f"{size:.2g}" for size in sizes),
        *(f"{share:.2%}" for share in beyond),
    ]


def _number(value: float) -> str:
    """Three digits of a size that may be of any order."""
    return kit_words.DASH if not math.isfinite(value) else f"{value:.2g}"
