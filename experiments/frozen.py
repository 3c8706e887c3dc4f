"""The frozen-weight test: weights fixed, state set by hand. Does the state steer the model, further than placebos?

The question: do the learned directions steer further than those of a scrambled or an untrained reader, found by the same
search? Each run answers by the rank of its learned effect among the effects of its placebo readers.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from experiments import frozen_figure
from experiments.frozen_tables import frozen_effects_summary, frozen_tables, usual_norm
from experiments.kit import published, words
from experiments.kit.experiment import Experiment, Table
from experiments.kit.pages import of_seeds
from experiments.kit.placebos import (
    PLACEBOS,
    READERS,
    TESTS,
    USUAL,
    View,
    beats,
    effect_table,
    furthest,
    usual_table,
)
from experiments.kit.stats import estimate, over_seeds, paired, per_seed, rank_correlation, unpaired
from experiments.kit.tables import Tables

HELDOUT = [test for test in TESTS if test[0] == "heldout"]
MEASURES = {"placebo_mean": "mean", "placebo_max": "max", "p_value": "p"}  # of every seed's placebos
RANDOM, STEADY = "random", 0.9  # |rank correlation| of dose and entropy that counts as steady


def views(tables: Tables) -> list[View]:
    """Each condition tested; one that was not, where none was."""
    return [View(tables, condition) for condition in _tested(tables) or ["analysis"]]


def _tested(tables: Tables) -> list[str]:
    return list(dict.fromkeys(tables.rows("frozen_effects_summary")["condition"]))


def findings(tables: Tables) -> dict[str, words.Finding]:
    """What the page says of the first condition tested, which the figure shows; the page's tables have them all."""
    view = views(tables)[0]
    return {
        "returns": _returns(view),
        "code": _code(view),
        "batches": _batches(view),
        "beats_replication": beats(view, "replication", "dimension"),
        **{f"beats_heldout_{finder}": beats(view, "heldout", finder) for _, finder in HELDOUT},
        "consistent": _consistent(view),
        "own": _own(view),
        "dose": _dose(view),
    }  # fmt: skip


def _returns(view: View) -> words.Finding:
    verdicts, possible, parts = [], [], []
    for step in view.steps():
        rows = view.rows("frozen_effects_summary", run_step=step, protocol="replication", finder="dimension")
        value = over_seeds(rows, "effect")
        if not value.n:
            continue
        verdicts.append(words.reach(value, published.EFFECT_SIZE))
        possible.append(words.again(value, published.EFFECT_SIZE))
        effects = view.rows("frozen_effects", run_step=step, protocol="replication", finder="dimension")
        over = (
            (effects["effect_size"] > published.MEANINGFUL_EFFECT)
            .groupby(effects["reader"], sort=False)
            .mean()
        )
        shares = [
            f"{words.percent(over[name])} of {look.label}s" for name, look in READERS.items() if name in over
        ]
        parts.append(
            f"After {step} steps {words.interval(value, sign=False)} nats, n = {value.n}. "
            f"Above {published.MEANINGFUL_EFFECT}, which was called meaningful, are {words.listed(shares)}."
        )
    theirs = pd.Series(published.EFFECT_SEEDS)
    if parts:
        parts.append(
            f"{len(theirs)} seeds of the published code give {words.number(theirs.mean())} on average, and {published.EFFECT_SIZE} at most."
        )
    said = f"than the published {published.EFFECT_SIZE}"
    smaller = (
        f"a smaller effect {said} on average; a single seed can reach that, as one of the published code did"
        if words.all_of(possible) == words.CLEAR
        else f"a smaller effect {said}"
    )
    return words.Finding(
        f"Repeated as published, the test gives an effect at least as large as the published {published.EFFECT_SIZE}.",
        words.all_of(verdicts), " ".join(parts) or "It was not run.", f"Repeated as published, the test gives {smaller}.",
    )  # fmt: skip


def _code(view: View) -> words.Finding:
    """Whether seeds of the published code give another effect than ours do."""
    rows = view.rows("frozen_effects_summary", run_step=1000, protocol="replication", finder="dimension")
    ours, theirs = per_seed(rows, "effect"), pd.Series(published.EFFECT_SEEDS)
    found = unpaired(theirs, ours)
    return words.difference(
        "Seeds of the published code give a larger effect than ours.",
        {f"the mean of its {len(theirs)} minus that of our {len(ours)}": found}, +1, "nats", pairs=False,
        otherwise="Seeds of the published code do not give a clearly larger effect than ours.",
        reverse="Seeds of the published code give a smaller effect than ours.",
    )  # fmt: skip


def by_set(view: View) -> pd.DataFrame:
    """Effect sizes of the learned reader in nats: a row a seed, a column a set of batches; 0 are the published ones."""
    rows = view.rows("frozen_batches")
    if rows.empty:
        return pd.DataFrame()
    first = rows["run_step"] == rows["run_step"].min()
    tested = rows[first & (rows["batch"] > 0)]  # directions were found on the first batch
    between = (tested["confident"] - tested["uncertain"]).groupby([tested["seed"], tested["draw"]]).mean()
    return between.abs().unstack()


def _batches(view: View) -> words.Finding:
    """Whether the published batches are kinder to the test than others are, and whether they are the published ones."""
    sizes = by_set(view)
    others = sizes.drop(columns=0, errors="ignore")
    beyond = (sizes[0] - others.mean(axis=1)).dropna() if len(others.columns) else pd.Series(dtype=float)
    found = words.difference(
        "On other batches the same test gives a smaller effect than on the published ones.",
        {"the published batches minus the mean of others": estimate(beyond)}, +1, "nats",
        otherwise="On other batches the same test does not give a clearly smaller effect than on the published ones.",
        reverse="On other batches the same test gives a larger effect than on the published ones.",
    )  # fmt: skip
    if not len(beyond):
        return found
    means = others.mean()
    place = 1 + int((means > sizes[0].mean()).sum())
    zero = view.rows("frozen_batches", run_step=1000, draw=0).groupby("batch")["zero"].mean()
    more = f" On others {words.interval(estimate(others.mean(axis=1)), sign=False)}. By its mean effect the published set is number {place} of {len(means) + 1}, the same for every seed; the others' run from {words.number(means.min())} to {words.number(means.max())}."
    if view.tables.suite == "shakespeare" and len(zero) == len(published.BATCH_ENTROPIES):
        r = float(np.corrcoef(zero, published.BATCH_ENTROPIES)[0, 1])
        more += f" Entropies of the published batches, state at zero, go with those that the published code gives: r = {words.number(r, 2)} over {len(zero)} batches."
    return replace(found, evidence=found.evidence + more)


def _consistent(view: View) -> words.Finding:
    parts = {}
    for step in view.steps("frozen_conditions"):
        rows = view.rows("frozen_conditions", run_step=step, protocol="heldout", finder="dimension")
        learned = per_seed(rows[rows["state"].isin(["confident", "uncertain"])], "sign_consistency")
        random = per_seed(rows[rows["state"] == "random"], "sign_consistency")
        parts[f"learned − random after {step} steps"] = paired(learned, random)
    return words.difference(
        "Counted alike, on held-out text, a learned direction changes entropy the same way in more sequences than a random one.", parts, +1,
        "of sequences", otherwise="Counted alike, on held-out text, a learned direction changes entropy no more reliably than a random one.",
    )  # fmt: skip


def _own(view: View) -> words.Finding:
    """Whether the state that training ended with lowers the loss, and further than a constant state of about its length does."""
    zero, constant, beyond, tested = {}, {}, {}, list(_own_rows(view))
    for step, rows in tested:
        set_by_hand = view.rows(
            "frozen_conditions", run_step=step, protocol="heldout", finder="gradient", state="confident"
        )
        after = f" after {step} steps" * (len(tested) > 1)
        zero[f"own − zero state{after}"] = over_seeds(rows, "delta_nll")
        constant[step] = over_seeds(set_by_hand, "delta_nll")
        beyond[f"own − constant{after}"] = paired(
            per_seed(rows, "delta_nll"), per_seed(set_by_hand, "delta_nll")
        )
    lowers, hand = (
        "The run's own state lowers the loss on held-out text",
        "a constant one, set along the gradient that sharpens predictions",
    )
    every = [words.side(value, -1) for value in zero.values()]
    otherwise = "The run's own state does not clearly lower the loss on held-out text."
    if every and set(every) == {words.CLEAR}:
        alike = all(words.side(value, -1) == words.CLEAR for value in constant.values())
        otherwise = (
            f"{lowers}, and so does {hand}." if alike else f"{lowers}, not clearly further than {hand}, does."
        )
    known = any(value.n for value in beyond.values())
    return words.difference(
        f"{lowers}, further than {hand}, does." if known else f"{lowers}.", zero | beyond, -1, "nats", 4, pairs=False, otherwise=otherwise
    )  # fmt: skip


def _own_rows(view: View) -> Iterator[tuple[int, pd.DataFrame]]:
    for step in view.steps("frozen_conditions"):
        rows = view.rows("frozen_conditions", run_step=step, protocol="heldout", state="own")
        if over_seeds(rows, "delta_nll").n:
            yield step, rows


def _dose(view: View) -> words.Finding:
    """Whether entropy goes further by the dose along learned directions than along a random one; it may be as steady there."""
    curves: dict[str, tuple[pd.DataFrame, pd.Series[float]]] = {}
    untrained: dict[str, pd.Series[float]] = {}
    for step in view.steps("frozen_doses")[-1:]:
        curves = {of: (rows, rho.abs()) for of, rows, rho in _curves(view, step)}
        placebos = view.rows("frozen_dose_placebos", run_step=step, reader="untrained")
        untrained = {str(of): furthest(rows) for of, rows in placebos.groupby("direction", sort=False)}
    ends = {of: furthest(rows) for of, (rows, _) in curves.items()}
    learned = [of for of in curves if of != RANDOM]
    steady = [of for of, (_, rho) in curves.items() if rho.mean() >= STEADY]
    along = words.listed([f"*{of}*" for of in steady]) if steady else "no direction"
    along = along if len(steady) < len(curves) else "any direction, random ones too"
    said = (
        f"Entropy rises or falls steadily with the length of the state along {along}; along learned ones it "
    )
    claim, otherwise = f"{said}goes further.", f"{said}does not clearly go further."
    if RANDOM not in curves or not any(rho.notna().any() for _, rho in curves.values()):
        return words.Finding(claim, words.ABSENT, "It was not run, or no dose changes entropy.", otherwise)
    further = {of: paired(ends[of].abs(), ends[RANDOM].abs()) for of in learned}
    found = words.difference(claim, further, +1, "nats of |Δ entropy|", otherwise=otherwise)
    moved = ", ".join(f"{of} {words.signed(ends[of].mean())}" for of in learned)
    less = ", ".join(f"{of} {words.signed(end.mean())}" for of, end in untrained.items())
    rhos = ", ".join(f"{of} {words.number(rho.mean(), 2)}" for of, (_, rho) in curves.items())
    told = f"At full length {moved}, random {words.number(ends[RANDOM].abs().mean())} either way nats{f'; through untrained readers {less}' if less else ''}."
    return replace(
        found,
        evidence=f"{told} Mean |rank correlation| of length and entropy: {rhos}. Beyond random: {found.evidence}",
    )


def _curves(view: View, step: int) -> Iterator[tuple[str, pd.DataFrame, "pd.Series[float]"]]:
    """Each direction, the rows of its curves, and the rank correlation of norm and Δ entropy by seed."""
    for direction, group in view.rows("frozen_doses", run_step=step).groupby("direction", sort=False):
        rank = {
            seed: rank_correlation(rows["magnitude"], rows["delta_entropy"])
            for seed, rows in group.groupby("seed")
        }
        yield str(direction), group, pd.Series(rank, dtype=float)


def _each(make: Callable[[View], str]) -> Callable[[Tables], str]:
    """A grid of each condition tested, one under the other."""
    return lambda tables: "\n\n".join(filter(None, map(make, views(tables)))) or words.MISSING


def _published_grid(view: View) -> str:
    blocks = []
    for step in view.steps("frozen_conditions"):
        rows = view.rows("frozen_conditions", run_step=step, protocol="replication")
        lines = []
        for state, said in published.FROZEN_DELTA_ENTROPY.items():
            of_state = rows[rows["state"] == state]
            change, consistency = (
                over_seeds(of_state, column) for column in ("delta_entropy", "sign_consistency")
            )
            if not change.n:
                continue
            ours, theirs, extra = words.interval(change), words.signed(said), words.DASH
            if state == "random":
                ours += (
                    f", SD of draws {words.number(of_state.groupby('seed')['delta_entropy'].std().mean())}"
                )
                theirs += f" ± {words.number(published.FROZEN_RANDOM_SD)}"
                extra = words.percent(float((of_state["delta_entropy"] > 0).mean()))
            signs = published.FROZEN_SIGN_CONSISTENCY.get(state)
            counted = (
                words.DASH
                if signs is None
                else f"{words.percent(signs)} of {'draws' if extra != words.DASH else 'batches'}"
            )
            lines.append(
                [state, theirs, ours, counted, words.percent(consistency.mean), extra, str(change.n)]
            )
        head = [f"weights after {step} steps", "published Δ entropy", "ours", "published sign consistency",
                "ours, share of batches (random: that fall)", "draws with Δ > 0", "n"]  # fmt: skip
        blocks += [words.table(head, lines)] if len(rows) else []
    return "\n\n".join(filter(None, [*blocks, effect_table([("replication", "dimension")], view)]))


def _heldout_grid(view: View) -> str:
    body, usual = effect_table(HELDOUT, view), usual_table(view.rows(USUAL))
    told = "The same directions, the state as long as it was on average in the second half of training:"
    return f"{body}\n\n{told}\n\n{usual}" if body and usual else body


def _own_grid(view: View) -> str:
    columns = {
        "magnitude": ("norm of the state", "3"), "delta_entropy": ("Δ entropy, nats", "±4"), "delta_nll": ("Δ NLL, nats", "±4"),
        "kl": ("KL(own ‖ zero), nats", "4"),
    }  # fmt: skip
    lines = [[str(step), *(per_seed(rows, name) for name in columns)] for step, rows in _own_rows(view)]
    return of_seeds("weights after", columns.values(), lines) if lines else ""


def _dose_grid(view: View) -> str:
    blocks = []
    for step in view.steps("frozen_doses"):
        lines = []
        for direction, group, rho in _curves(view, step):
            by_seed = group.groupby("seed")["magnitude"]
            ends = (per_seed(group.loc[by_seed.agg(end)], "delta_entropy") for end in ("idxmin", "idxmax"))
            lines.append([f"{step}: {direction}", by_seed.max(), *ends, rho, rho.abs()])
        columns = [
            ("largest norm", "3"), ("Δ entropy at minus that", "±3"), ("Δ entropy at plus that", "±3"), ("Spearman ρ of norm and Δ", "±2"),
            ("mean |ρ|", "~2"),
        ]  # fmt: skip
        blocks.append(of_seeds("weights after: direction", columns, lines))
    return "\n\n".join(blocks)


def _calibration_grid(view: View) -> str:
    columns = {
        "entropy": ("entropy, nats", "3"), "nll": ("NLL, nats", "3"), "delta_nll": ("Δ NLL, nats", "±3"), "ece": ("ECE", "3"),
    }  # fmt: skip
    blocks = []
    for step in view.steps("frozen_conditions"):
        rows = view.rows("frozen_conditions", run_step=step, protocol="heldout")
        lines = [
            [str(state) if finder == "none" else f"{state} ({finder})", *(per_seed(group, name) for name in columns)]
            for (finder, state), group in rows.groupby(["finder", "state"], sort=False)
        ]  # fmt: skip
        blocks += [of_seeds(f"state, weights after {step} steps", columns.values(), lines)] if lines else []
    return "\n\n".join(blocks)


def _seeds_grid(view: View) -> str:
    blocks = []
    for test, group in view.rows("frozen_effects_summary").groupby(["protocol", "finder"], sort=False):
        lines = []
        for (step, seed), cell in group.groupby(["run_step", "seed"]):
            kinds = [cell[cell["placebo"] == placebo] for placebo in PLACEBOS]
            values = [words.number(kind[name].mean()) for kind in kinds for name in MEASURES]
            lines.append([f"{step}, seed {seed}", words.number(cell["effect"].iloc[0]), *values])
        columns = [f"{placebo} {what}" for placebo in PLACEBOS.values() for what in MEASURES.values()]
        named = dict[object, str](TESTS).get(test, ", ".join(map(str, test)))
        blocks.append(words.table([named, "effect", *columns], lines))
    return "\n\n".join(blocks)


GRIDS = {
    "conditions": lambda tables: words.listed([f"`{name}`" for name in _tested(tables)]),
    "published": _each(_published_grid),
    "heldout": _each(_heldout_grid),
    "own": _each(_own_grid),
    "dose": _each(_dose_grid),
    "calibration": _each(_calibration_grid),
    "seeds": _each(_seeds_grid),
}
EXPERIMENT = Experiment(
    "frozen", "Frozen-weight test: does the state steer the model?",
    (
        Table(frozen_tables, names=("frozen_conditions", "frozen_effects", "frozen_batches", "frozen_doses", "frozen_dose_placebos")),
        frozen_effects_summary,
        Table(usual_norm, suites=("shakespeare", "generalization", "recurring")),
    ),
    findings, frozen_figure.FIGURES, GRIDS, suites=("shakespeare", "*"), page="frozen-test.md",
)  # fmt: skip
