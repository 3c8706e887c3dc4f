"""Steer a finished run with its weights frozen: set the state by hand, measure entropy, NLL and calibration.

    python frozen_test.py out/shakespeare/self_calm/seed-1 --step 1000

Choosing the best of many directions makes an effect out of nothing, so nothing is believed here without a
placebo that was *selected in the same way*: `steering.effects` is one function of the reader, called with the
learned one and with placebo readers alike. Two protocols:

    replication  as published: dimension-wise, found and tested on the same train batches, last position
    heldout      found on train batches, magnitude chosen on dev, measured once on held-out, all positions

and two finders of a confident and an uncertain direction:

    dimension    the dimensions whose entropy change is lowest (highest), each alone at `magnitude`
    gradient     minus (plus) the gradient of mean entropy with respect to the state, at zero; the only one
                 for a state of one dimension

The gradient finder can't see a rotation: under the reader W Q the gradient is Q^T g, and W Q (Q^T g) = W g is
the same bias. So its placebo "rotated" would equal the learned effect by construction and is not run; only
"untrained" decides there. All is computed in float32, whatever the run was trained in.
"""

import argparse
import csv
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import command_line
import config
import config_file
import run_folder
import storage
from data.corpus import Corpus, check_block, prepare
from evaluate import batch
from rng import Stream, generator
from steering import (
    ALL,
    LAST,
    Batch,
    Effect,
    Instrument,
    Progress,
    Trial,
    dense_directions,
    effects,
    rotated,
    sparse_directions,
    unit,
    untrained,
    weights_sha256,
)
from storage import UserError

DIRECTION_COUNTERS = {
    ("replication", "dimension"): 0,
    ("heldout", "dimension"): 1,
    ("heldout", "gradient"): 2,
}
DOSE_COUNTER = 3  # both in the DIRECTIONS stream
DOSE_BATCHES = 5  # of the held-out ones: a curve needs less precision than the test
SMALLEST_NORM = 1e-6  # a state that never exceeded this did not move
FIRST_BATCH = {"train": 2_000_000, "dev": 3_000_000, "heldout": 4_000_000}  # counters in the EVAL stream
UNTRAINED = 1_000_000  # counter of the first untrained reader in the PLACEBO stream; rotations count from 0

CONDITIONS = (
    *("seed", "run_step", "protocol", "finder", "state", "draw", "magnitude", "entropy", "nll", "ece"),
    *("delta_entropy", "delta_nll", "kl", "sign_consistency"),
)
EFFECTS = ("seed", "run_step", "protocol", "finder", "reader", "draw", "effect_size", "magnitude")
DOSES = ("seed", "run_step", "direction", "magnitude", "entropy", "nll", "delta_entropy", "delta_nll")


def condition_rows(
    instrument: Instrument,
    reader: np.ndarray,
    trial: Trial,
    found: Sequence[Effect],
    own: np.ndarray,
    seed: int,
) -> list[dict[str, Any]]:
    """Rows of conditions.csv (without seed and run_step): zero, own, confident, uncertain, random.

    found: the learned reader's effects. own (D,): the state that training ended with. Random states have
    the norm of the found ones; in the held-out protocol those of the dimension finder have its sparsity too.
    sign_consistency = max(share of sequences with entropy change > 0, share < 0), for every row alike.
    """
    count, dim, top = trial.settings.random_directions, len(own), trial.settings.top
    rows = []
    for protocol, batches, where in (("replication", trial.finder, LAST), ("heldout", trial.heldout, ALL)):
        cases = [("none", "zero", 0, np.zeros(dim))]
        if protocol == "heldout":
            cases.append(("none", "own", 0, own))
        for effect in (effect for effect in found if effect.protocol == protocol):
            sparse = (protocol, effect.finder) == ("heldout", "dimension")
            random = generator(seed, Stream.DIRECTIONS, DIRECTION_COUNTERS[protocol, effect.finder])
            drawn = (
                sparse_directions(count, dim, top, random) if sparse else dense_directions(count, dim, random)
            )
            cases += [(effect.finder, "confident", 0, effect.states[0])]
            cases += [(effect.finder, "uncertain", 0, effect.states[1])]
            cases += [(effect.finder, "random", i, effect.magnitude * row) for i, row in enumerate(drawn)]
        states = np.stack([state for *_, state in cases])
        outputs = instrument.measure(states @ reader.T, batches, kl=True)
        entropy, nll, kl = outputs.entropy[where], outputs.nll[where], outputs.kl[where]
        for index, (finder, name, draw, state) in enumerate(cases):
            change = entropy[index] - entropy[0]  # (S,)
            rows.append(
                {
                    **{"protocol": protocol, "finder": finder, "state": name, "draw": draw},
                    "magnitude": float(np.linalg.norm(state)),
                    "entropy": entropy[index].mean(),
                    "nll": nll[index].mean(),
                    "ece": outputs.ece[index],
                    "delta_entropy": change.mean(),
                    "delta_nll": (nll[index] - nll[0]).mean(),
                    "kl": kl[index].mean(),
                    "sign_consistency": max((change > 0).mean(), (change < 0).mean()),
                }
            )
    return rows


def dose_rows(
    instrument: Instrument, reader: np.ndarray, trial: Trial, found: Sequence[Effect], seed: int
) -> list[dict[str, Any]]:
    """Rows of doses.csv (without seed and run_step): negative norms, zero, norms along four directions."""
    by_finder = {effect.finder: effect.states for effect in found if effect.protocol == "heldout"}
    directions: dict[str, np.ndarray] = {}
    if "dimension" in by_finder:
        directions |= {
            "confident": unit(by_finder["dimension"][0]),
            "uncertain": unit(by_finder["dimension"][1]),
        }
    directions["gradient"] = unit(by_finder["gradient"][1])
    random = generator(seed, Stream.DIRECTIONS, DOSE_COUNTER)
    directions["random"] = dense_directions(1, reader.shape[1], random)[0]
    norms = np.concatenate([-trial.norms[::-1], [0.0], trial.norms])
    cases = [(name, float(norm)) for name in directions for norm in norms]
    states = np.stack([norm * directions[name] for name, norm in cases])
    outputs = instrument.measure(states @ reader.T, trial.heldout[:DOSE_BATCHES])
    entropy, nll = outputs.entropy[ALL].mean(-1), outputs.nll[ALL].mean(-1)
    zero = len(trial.norms)
    return [
        {
            **{"direction": name, "magnitude": norm, "entropy": entropy[index], "nll": nll[index]},
            **{"delta_entropy": entropy[index] - entropy[zero], "delta_nll": nll[index] - nll[zero]},
        }
        for index, (name, norm) in enumerate(cases)
    ]


def count_forwards(settings: config.FrozenTest, dim: int) -> int:
    """Forward passes of one test."""
    finder, dev, heldout = settings.finder_batches, settings.dev_batches, settings.heldout_batches
    chosen = 2 * settings.doses * dev + 2 * heldout
    doses = (2 * settings.doses + 1) * min(DOSE_BATCHES, heldout)
    if finders(dim) == ("gradient",):
        return (
            3 * finder
            + chosen * (1 + settings.placebo_draws)
            + (4 + settings.random_directions) * heldout
            + 2 * doses
        )
    dimension = (dim + 2) * finder + chosen
    readers = dimension + chosen + settings.placebo_draws * (2 * dimension + chosen)
    conditions = (3 + settings.random_directions) * finder + (6 + 2 * settings.random_directions) * heldout
    return 2 * finder + readers + conditions + 4 * doses


def finders(dim: int) -> tuple[str, ...]:
    """The finders for a state of `dim` dimensions: a single one leaves nothing to choose dimensions from."""
    return ("dimension", "gradient") if dim > 1 else ("gradient",)


def state_norms(states: np.ndarray, settings: config.FrozenTest) -> tuple[np.ndarray, bool]:
    """`doses` equally spaced norms up to the largest of states (steps, D), and whether the state ever moved.

    Where it did not, they go up to settings.magnitude instead.
    """
    largest = float(np.linalg.norm(states.astype(np.float64), axis=1).max())
    moved = largest >= SMALLEST_NORM
    top = largest if moved else settings.magnitude
    return top * np.arange(1, settings.doses + 1) / settings.doses, moved


def run(
    run: Path,
    step: int,
    settings: config.FrozenTest,
    corpus: Corpus,
    destination: Path,
    progress: Progress | None = None,
) -> None:
    """Test the weights after `step` steps of a run; write conditions.csv, effects.csv, doses.csv, task.json.

    Args:
        run: a run folder.
        step: the last step, or one of the run's log.keep_steps.
        settings: which batches, directions and placebos, and how many.
        corpus: the one that the run was trained on.
        destination: a folder, whole or absent; one that stands there is replaced.
        progress: called with (forward passes done, in all).

    Raises:
        UserError: no whole run, no self-state, weights not kept (it says which were), another corpus, `top`
            too large for the state, or a corpus too short.
        RuntimeError: the test changed the weights.
    """
    started = time.perf_counter()
    trained, gpt, self_state = run_folder.load_models(run, step)
    if self_state is None:
        raise UserError(f"{run} is a run without self-state; there is nothing to steer")
    record = storage.read_json(run / "run.json")
    if record["data"] != corpus.tokens_sha256:
        raise UserError(
            f"{run} was trained on another corpus than {corpus.name} as it stands; train it again"
        )
    dim, seed = trained.self_state.dim, trained.seed
    if 1 < dim < 2 * settings.top:
        raise UserError(
            f"frozen_test.top = {settings.top} is too many for {dim} dimensions; take at most {dim // 2}"
        )
    check_block(corpus, trained.model.block_size)
    before = weights_sha256(run_folder.models_arrays({"gpt": gpt, "self_state": self_state}))
    states = storage.load_tensors(run / "states.safetensors")["state"][:step]  # (steps, D)
    reader = self_state.reader.weight.detach().double().numpy()  # (C, D)
    instrument = Instrument(gpt, count_forwards(settings, dim), progress)

    def batches(split: str, count: int) -> list[Batch]:
        tokens, first = getattr(corpus, split), FIRST_BATCH[split]
        return [
            batch(tokens, trained, seed, Stream.EVAL, first + index, torch.device("cpu"))
            for index in range(count)
        ]

    finder = batches("train", settings.finder_batches)
    norms, moved = state_norms(states, settings)
    trial = Trial(
        finder=finder,
        dev=batches("dev", settings.dev_batches),
        heldout=batches("heldout", settings.heldout_batches),
        zero=instrument.measure(np.zeros((1, len(reader))), finder).entropy.mean(-1)[:, 0],
        gradient=instrument.entropy_gradient(finder),
        norms=norms,
        settings=settings,
    )
    searched = finders(dim)
    learned = effects(instrument, reader, trial, searched)
    conditions = condition_rows(instrument, reader, trial, learned, states[-1].astype(np.float64), seed)
    doses = dose_rows(instrument, reader, trial, learned, seed)
    measured = [("learned", 0, effect) for effect in learned]
    for draw in range(settings.placebo_draws):
        if "dimension" in searched:
            placebo = rotated(reader, generator(seed, Stream.PLACEBO, draw))
            again = effects(instrument, placebo, trial, ["dimension"])
            measured += [("rotated", draw, effect) for effect in again]
        placebo = untrained(reader, generator(seed, Stream.PLACEBO, UNTRAINED + draw))
        again = effects(instrument, placebo, trial, searched)
        measured += [("untrained", draw, effect) for effect in again]
    after = weights_sha256(run_folder.models_arrays({"gpt": gpt, "self_state": self_state}))
    if after != before:
        raise RuntimeError(f"the frozen-weight test of {run} changed the weights ({before} -> {after})")
    effect_rows = [
        {
            **{"protocol": effect.protocol, "finder": effect.finder, "reader": name, "draw": draw},
            **{"effect_size": effect.size, "magnitude": effect.magnitude},
        }
        for name, draw, effect in measured
    ]
    common = {"seed": seed, "run_step": step}
    with storage.whole_folder(destination) as folder:
        for name, columns, rows in (
            ("conditions.csv", CONDITIONS, conditions),
            ("effects.csv", EFFECTS, effect_rows),
            ("doses.csv", DOSES, doses),
        ):
            storage.write_text(folder / name, _csv(columns, [{**common, **row} for row in rows]))
        task = {
            **common,
            "run_key": record["key"],
            "settings": settings.model_dump(mode="json"),
            "weights_sha256_before": before,
            "weights_sha256_after": after,
            "largest_norm": float(norms[-1]),
            "norms_from_training": moved,
            "forwards": instrument.done,
            "dtype": "float32",
            "threads": torch.get_num_threads(),
            "seconds": round(time.perf_counter() - started, 3),
        }
        storage.write_json(folder / "task.json", task)


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{v:.12g}" if isinstance(v, float) else v for name, v in row.items()})
    return text.getvalue()


def load_settings(overrides: Sequence[str]) -> config.FrozenTest:
    """[frozen_test] of configs/base.toml under `frozen_test.key=value` texts; ConfigError if one is wrong."""
    source = config_file.read(config.ROOT / "configs" / "base.toml")
    for text in overrides:
        if not text.startswith("frozen_test."):
            raise config.ConfigError(
                f"--set {config_file.shown(text)}: only frozen_test fields can be set for a finished run"
            )
    source.apply_overrides(overrides)
    return config.validate(config.FrozenTest, source.document["frozen_test"], source, [("frozen_test",)])


def _summary(path: Path) -> str:
    """One line a protocol and finder of an effects.csv: the learned effect beside its placebos."""
    sizes: dict[tuple[str, str], dict[str, list[float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            group = sizes.setdefault((row["protocol"], row["finder"]), {})
            group.setdefault(row["reader"], []).append(float(row["effect_size"]))
    lines = []
    for (protocol, finder), group in sizes.items():
        (learned,) = group.pop("learned")
        placebos = [
            f"{name} {np.mean(values):.3f}, max {max(values):.3f} (n = {len(values)})"
            for name, values in group.items()
        ]
        lines.append(f"{protocol:12} {finder:10} effect {learned:.3f} nats   placebo: {'; '.join(placebos)}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    parser = command_line.Parser(
        prog="frozen_test.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run folder, for example out/shakespeare/self_calm/seed-1")
    parser.add_argument("--step", type=int, help="weights after so many steps (default: the last)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="set a frozen_test field"
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="corpora in, results out (default out)")
    given = parser.parse_args(arguments)
    settings = load_settings(given.set)
    trained = run_folder.load_config(given.run)
    step = trained.train.steps if given.step is None else given.step
    torch.set_num_threads(1)
    corpus = prepare(trained.corpus, given.out / "data", trained.tokenizer)
    destination = given.out / "frozen" / f"{given.run.resolve().name}-step{step}"
    with command_line.progress_bar("frozen-weight test") as progress:
        run(given.run, step, settings, corpus, destination, progress)
    print(_summary(destination / "effects.csv"))
    print(f"tested {given.run} at step {step} -> {destination}")


if __name__ == "__main__":
    command_line.run(main)
