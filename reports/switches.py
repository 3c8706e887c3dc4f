"""Sections of the page on what a self-state pays: held-out text, switches, the age of the statistics, the faint world."""

import pandas as pd

from analysis.spans import AFTER_SWITCH
from experiments.kit.stats import Estimate, estimate, over_seeds, tabled
from experiments.kit.tables import RUN, ByCondition
from experiments.kit.words import MISSING, difference, interval, number, percent, table
from plots.gains import (
    AGES,
    KINDS,
    LOSSES,
    MECHANISMS,
    RECOVERY,
    STATE,
    SUMMARY,
    WORLDS,
    after_switch,
    share_of,
)
from plots.gains import COLUMNS as DRAWN
from plots.gains import LOOKS as IN_WORLD
from reports.parts import Section, Tables

_HELDOUT = ("heldout_loss_calm", "heldout_loss_acting", "heldout_ece_calm", "heldout_ece_acting")
COLUMNS: dict[str, tuple[str, ...]] = {
    **DRAWN,
    LOSSES: (
        *(*DRAWN[LOSSES], "vanilla", "clean_loss", "perturbed_loss"),
        *(f"{name}_difference" for name in ("heldout_loss", "heldout_ece", *_HELDOUT)),
    ),
    "belief_shifts": (*RUN, "state", "kl", "kl_calm"),
    "batch_auc": (*RUN, "regime", "auc"),
    RECOVERY: (*DRAWN[RECOVERY], "censored", "steps", "median", "excess", "steps_difference"),
}
NATS = " nats"
BIAS = "fixed_bias"


def contrast(
    tables: Tables, quantity: str, condition: str, reference: str, measure: str, world: str = ""
) -> Estimate:
    """A row of recurring_summary; n = 0 where there is none."""
    rows = tables.rows(SUMMARY, quantity=quantity, condition=condition, reference=reference, measure=measure)
    rows = rows[rows["world"] == world] if world else rows
    return tabled(rows)


def heldout(tables: Tables) -> Section:
    """Held-out loss and calibration with the state of the moment, at moments with and without a regime."""
    found = ByCondition(tables.rows(LOSSES))
    shown = [
        *IN_WORLD,
        *(f"{mechanism}_{world}" for mechanism in MECHANISMS for world in WORLDS),
        "faint",
        "faint_oracle",
    ]
    names = [name for name in dict.fromkeys(shown) if found.value(name, "heldout_loss_difference").n]
    rows = []
    for name in names:
        cells = [
            interval(found.value(name, f"{column}_difference"), 4) for column in ("heldout_loss", *_HELDOUT)
        ]
        rows.append([f"`{name}`", *cells, str(found.value(name, "heldout_loss_difference").n)])
    head = ["condition", "held-out loss, all moments", "at calm moments", "while a regime acts",
            "calibration error at calm moments", "while a regime acts", "n"]  # fmt: skip
    state = {
        column: [(f"`{STATE}` − vanilla", found.value(STATE, f"{column}_difference"))] for column in _HELDOUT
    }
    whole = [
        (f"`{STATE}` − vanilla", found.value(STATE, "heldout_loss_difference")),
        (f"`{STATE}` − `{BIAS}`", found.minus(STATE, BIAS, "heldout_loss_difference")),
    ]
    return Section(
        "What does it pay on held-out text?",
        "The same held-out batches every 100 steps, with the state that the run has at that moment. Held-out text is never "
        "corrupted, whatever acts on training at that moment.",
        [table(head, rows) if rows else MISSING, *(["Minus vanilla at the same steps; below zero is better. Loss in nats a token."] if rows else [])],
        "A state that knows of corrupted targets makes the model less sure, rightly for the training batch and wrongly for "
        "clean text: a gain at calm moments with a loss while the regime acts is what use of the state looks like. What comes of "
        "both depends on how often the regime acts; the first column has it. A gain at all moments alike is one of the weights. With few evaluations a run these are rougher than the training losses.",
        [
            difference("Over all moments, disturbed or not, the self-state predicts held-out text better than none and than a fixed random bias.", whole, -1, NATS, 4),
            difference("At calm moments the self-state predicts held-out text better.", state["heldout_loss_calm"], -1, NATS, 4),
            difference("While targets are corrupted, too, the self-state predicts clean held-out text better.", state["heldout_loss_acting"], -1, NATS, 4),
            difference("At calm moments the self-state is better calibrated on held-out text.", state["heldout_ece_calm"], -1, "", 4),
            difference("While targets are corrupted, too, the self-state is better calibrated on clean held-out text.", state["heldout_ece_acting"], -1, "", 4),
        ],
    )  # fmt: skip


def _recoveries(recovery: pd.DataFrame, name: str, kind: str) -> list[str]:
    """The row of a condition and a kind of switch."""
    here = recovery[(recovery["condition"] == name) & (recovery["switch"] == kind)]
    events = here["events"].sum()
    plain = name.startswith("vanilla")

    def after(column: str) -> Estimate:
        return estimate(after_switch(recovery, name, kind, column))

    return [
        f"{kind}, `{name}`",
        interval(after("steps"), 1, sign=False),
        number(after("median").mean, 1),
        "–" if plain else interval(after("steps_difference"), 1),
        interval(after("excess"), 2),
        "–" if plain else interval(after("loss_after_difference"), 2),
        percent(float(here["censored"].sum() / events)) if events else "–",
        str(after("steps").n),
    ]


def around_switches(tables: Tables, figures: str) -> Section:
    """Steps to recover after each switch, and the loss in the steps after it."""
    recovery = tables.rows(RECOVERY)
    names = [name for name in ("vanilla_recurring", *IN_WORLD) if (recovery["condition"] == name).any()]
    rows = [_recoveries(recovery, name, kind) for kind in ("on", "off") for name in names]
    head = ["switch, condition", "steps to recover", "median", "steps − vanilla's", f"excess over {AFTER_SWITCH} steps, nats",
            f"loss − vanilla's over {AFTER_SWITCH} steps, nats", "censored", "n"]  # fmt: skip
    body = [table(head, rows) if rows else MISSING]
    if rows:
        body += [
            "A run has recovered when the mean loss of five steps is back within one standard deviation of its own settled level in that "
            "regime, a parabola through its steps from the 30th of a stretch on. *Censored*: the next switch came before; such switches count "
            "as longer than seen (Kaplan–Meier mean up to 60 steps; median over the switches of a run, then mean over seeds). *Excess*: loss above that level, summed over the 20 "
            "steps, nats a token. The noise of single batches alone costs about a step, in all conditions the same.",
            f"![Around switches]({figures}/recurring/switches.png)",
        ]
    findings = []
    for kind in ("on", "off"):
        sooner, less = (
            [(f"`{STATE}` − vanilla", estimate(after_switch(recovery, STATE, kind, column)))]
            for column in ("steps_difference", "loss_after_difference")
        )
        findings += [
            difference(
                f"After corruption switches {kind} the self-state recovers in fewer steps.",
                sooner,
                -1,
                " steps",
                1,
            ),
            difference(
                f"In the {AFTER_SWITCH} steps after corruption switches {kind} the self-state loses less.",
                less,
                -1,
                NATS,
                2,
            ),
        ]
    return Section(
        "What does it pay when the world switches?",
        "How many steps after a switch is the loss back at its usual level, and what is lost until then? The statistics come "
        "from the previous batch, so the first step after a switch is missed by everything but the oracle.",
        body,
        "Steps to recover compare each condition with itself: one that is better while settled has further to go. The loss "
        "minus vanilla's over the same steps is free of that.",
        findings,
    )


def ages(tables: Tables, figures: str) -> Section:
    """Gain against the age of the statistics."""
    losses, summary = tables.rows(LOSSES), tables.rows(SUMMARY)
    found = ByCondition(losses)
    names = [name for name in AGES if found.value(name, "clean_loss_difference").n]
    rows = []
    for name in names:
        of = losses[losses["condition"] == name]
        share = share_of(summary, name, "clean_loss")
        rows.append(
            [
                f"{of['age'].iloc[0]:.0f}, `{name}`",
                percent(float(of["fresh"].mean())),
                *(interval(found.value(name, f"{measure}_difference"), 4) for measure in KINDS),
                interval(share, 2, sign=False) if share.n else "–",
                str(found.value(name, "clean_loss_difference").n),
            ]
        )
    head = ["age in steps", "regime still the same", "calm steps: loss − vanilla's", "perturbed steps: loss − vanilla's",
            "share of the oracle's gain, calm", "n"]  # fmt: skip
    newer = [
        (f"{kind}, `{STATE}` − `delayed_64`", contrast(tables, "control", STATE, "delayed_64", m))
        for m, kind in KINDS.items()
    ]
    old = [(f"`{name}` − vanilla", found.value(name, "clean_loss_difference")) for name in AGES[-1:]]
    return Section(
        "How fresh must a sense be?",
        "The same self-state, shown its statistics 1, 4, 16 or 64 steps late.",
        [
            table(head, rows) if rows else MISSING,
            *([f"![Gain by age]({figures}/recurring/freshness.png)"] if rows else []),
        ],
        "*Regime still the same* is what old statistics can tell at best, seen over all steps; where calm and corrupted steps are equally common, "
        "50 % tells nothing. A gain that stays "
        "at 64 steps does not come from knowing the regime of the moment.",
        [
            difference("Statistics of the last step pay more than those of 64 steps ago, on calm and on perturbed steps.", newer, -1, NATS, 4),
            difference("Statistics 64 steps old still pay on calm steps.", old, -1, NATS, 4),
        ],
    )  # fmt: skip


def faint(tables: Tables) -> Section:
    """The world in which one batch leaves real doubt."""
    found = ByCondition(tables.rows(LOSSES))
    rows = []
    for name in ("faint", "faint_direct", "faint_oracle"):
        values = {measure: found.value(name, f"{measure}_difference") for measure in KINDS}
        if not values["clean_loss"].n:
            continue
        cells = [interval(value, 4) for value in values.values()]
        rows.append([f"`{name}`", *cells, str(values["clean_loss"].n)])
    head = ["condition", "calm steps: loss − vanilla's", "perturbed steps: loss − vanilla's", "n"]
    pays = [
        (f"{kind}, `faint` − `faint_vanilla`", found.value("faint", f"{m}_difference"))
        for m, kind in KINDS.items()
    ]
    whole = [
        (f"{kind}, `faint_oracle` − `faint_vanilla`", found.value("faint_oracle", f"{m}_difference"))
        for m, kind in KINDS.items()
    ]
    carried = [
        (f"{kind}, `faint` − `faint_direct`", found.minus("faint", "faint_direct", m))
        for m, kind in KINDS.items()
    ]
    return Section(
        "Does it pay where one batch leaves doubt?",
        f"So few targets are corrupted that the loss of one batch hardly tells{_one_batch(tables)}: to know the regime takes several.",
        [table(head, rows) if rows else MISSING, *([ceiling(tables, found)] if rows else [])],
        "A gain larger than what knowing the regime can earn is not one of knowing it, also the oracle's: a state is a bias, too, "
        "and changes the path of training. This world is there for what a state can "
        "tell ([beliefs](beliefs.md)), and no share of the oracle's gain is told. `faint_direct` reads the last batch alone, with as many parameters: "
        "what the state gains beyond it is what carrying on from step to step earns.",
        [
            difference("In the faint world the self-state lowers the loss, on calm and on perturbed steps.", pays, -1, NATS, 4),
            difference("In the faint world the model that is shown the true regime has the lower loss, on calm and on perturbed steps.", whole, -1, NATS, 4),
            difference("In the faint world carrying the state on gains more than reading the last batch.", carried, -1, NATS, 4),
        ],
    )  # fmt: skip


def _one_batch(tables: Tables) -> str:
    """AUC of one batch's loss in the faint world, where it was measured."""
    area = over_seeds(tables.rows("batch_auc", condition="faint_vanilla"), "auc")
    return f" (AUC {interval(area, 2, sign=False)}, n = {area.n})" if area.n else ""


def ceiling(tables: Tables, found: ByCondition) -> str:
    """What knowing the regime of the faint world can earn, in nats, beside what was gained and how far seeds differ."""
    shifts = tables.rows("belief_shifts", condition="faint")
    most = [
        over_seeds(shifts[shifts["state"] == state], column)
        for state, column in (("calm", "kl"), ("optimum", "kl_calm"))
    ]
    text = "What knowing the regime could earn was not measured here. "
    if most[0].n:
        text = (
            "What knowing the regime can earn at most: on corrupted steps the divergence of the best prediction there from the calm one, "
            f"{number(most[0].mean, 4)} nats"
        )
        if most[1].n:
            text += f"; on calm steps that of the calm one from the best one under corruption, {number(most[1].mean, 4)} nats"
        oracle = [found.value("faint_oracle", f"{measure}_difference") for measure in KINDS]
        limits = (most[1].mean if most[1].n else most[0].mean, most[0].mean)
        beyond = [-value.mean > limit for value, limit in zip(oracle, limits, strict=True) if value.n]
        text += " (n = " + str(most[0].n) + "). "
        if any(beyond):
            text += "The mean gain of the oracle is larger than that: the rest does not come from knowing, or is chance. "
    spread = found.of("faint", "clean_loss_difference")
    if len(spread) > 1:
        text += f"Seeds differ by a standard deviation of {number(float(spread.std()), 4)} nats in the state's gain on calm steps"
        small = most[0].n and max(one.mean for one in most if one.n) < float(spread.std())
        text += (
            ", more than there is to earn: this world decides nothing about what sensing pays. "
            if small
            else ". "
        )
    return text.strip()


def size(tables: Tables) -> Section:
    """The world and the controls that matter most, with the model of the published size."""
    found = ByCondition(tables.rows(LOSSES))
    names = {
        "large": "calibrated_recurring", "large_yoked": "yoked", "large_bias": "learned_bias", "large_fixed_bias": "fixed_bias",
    }  # fmt: skip
    rows = []
    for pair in names.items():
        for name in pair:
            values = [found.value(name, f"{measure}_difference") for measure in KINDS]
            if values[0].n:
                rows.append([f"`{name}`", *(interval(value, 4) for value in values), str(values[0].n)])
    head = ["condition", "calm steps: loss − vanilla's", "perturbed steps: loss − vanilla's", "n"]
    pays = [
        (f"{kind}, `large` − `large_vanilla`", found.value("large", f"{m}_difference"))
        for m, kind in KINDS.items()
    ]
    beyond = [
        (f"{kind}, `large` − `{name}`", found.minus("large", name, m))
        for name in ("large_bias", "large_fixed_bias", "large_yoked")
        for m, kind in KINDS.items()
    ]
    return Section(
        "Does it come back at the published size?",
        "All other conditions of this suite have a small model, so that there can be many. Here the recurring world with four layers "
        "of 128, as in the published study, and the blind controls that decide most; each beside its small counterpart.",
        [table(head, rows) if rows else MISSING],
        "Two sizes are no law of scale; they say whether the small model's answer is a matter of being small.",
        [
            difference("At the published size the self-state lowers the loss, on calm and on perturbed steps.", pays, -1, NATS, 4),
            difference("At the published size it gains more than a learned constant, a fixed random one and a yoked state.", beyond, -1, NATS, 4),
        ],
    )  # fmt: skip
