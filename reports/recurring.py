"""The page on what a self-state pays: mechanism by world, controls, held-out text, switches, age of the statistics."""

from collections.abc import Sequence

from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.stats import Estimate, tabled
from experiments.kit.tables import ByCondition
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    Finding,
    difference,
    interval,
    listed,
    number,
    table,
)
from plots.gains import (
    KINDS,
    LOSSES,
    MECHANISMS,
    ORACLE,
    STATE,
    SUMMARY,
    WORLDS,
    of_world,
    share_of,
)
from plots.gains import LOOKS as IN_WORLD
from reports.parts import Section, Tables
from reports.switches import COLUMNS, NATS, ages, around_switches, contrast, faint, heldout, size

TITLE = "What a self-state pays: worlds, mechanisms and controls"
FILE = "recurring.md"
SUITE = "recurring"
__all__ = ["COLUMNS", "FILE", "SUITE", "TITLE", "sections"]
BLIND = (
    "learned_bias",
    "fixed_bias",
    "shuffled",
    "yoked",
    "clock",
)  # sense nothing of their own run's present
ENOUGH = {  # what it means where a control gains as much
    "learned_bias": "a learned constant is enough",
    "fixed_bias": "a random constant of that norm is enough",
    "shuffled": "statistics in random order are enough: their values do it, not their time",
    "yoked": "another run's statistics are enough: nothing of its own is sensed",
    "clock": "knowing the time is enough",
    "state_1d": "one dimension is enough",
    "direct": "reading the last batch's statistics is enough: nothing has to be carried on from step to step",
}


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections. `figures` is the folder of figures as seen from the page."""
    return [
        worlds(tables, figures),
        controls(tables),
        heldout(tables),
        around_switches(tables, figures),
        ages(tables, figures),
        faint(tables),
        size(tables),
    ]


def worlds(tables: Tables, figures: str) -> Section:
    """Loss minus vanilla's for each mechanism in each world, and whether the mechanism's gain depends on the world."""
    losses = tables.rows(LOSSES)
    found = ByCondition(losses)
    names = {
        (mechanism, world): of_world(losses, mechanism, world) for mechanism in MECHANISMS for world in WORLDS
    }
    rows = [_in_world(found, *place, name) for place, name in names.items() if name]
    head = [
        "condition",
        "world",
        "mechanism",
        "calm steps: loss − vanilla's",
        "perturbed steps: loss − vanilla's",
        "n",
    ]
    body = [table(head, rows) if rows else MISSING]
    if rows:
        first = sorted(set(losses["from_step"].astype(int)))
        body += [
            "Training loss in nats a token, below zero is better than no state. Paired step by step with the vanilla run of the "
            "same world and seed: same batches, same regimes, same first weights. Measured from step "
            f"{listed([str(step) for step in first])} on: before, the learning rate warms up, the loss falls fastest, and a state has had few "
            "switches to learn from. Perturbed steps: those on which a regime acts, whichever; in the recurring world their targets are corrupted.",
            f"![What it pays]({figures}/recurring/what-it-pays.png)",
        ]

    def pays(mechanism: str, world: str, claim: str, measures: Sequence[str] = tuple(KINDS)) -> Finding:
        name = names[mechanism, world] or f"{mechanism}_{world}"
        parts = [
            (f"{KINDS[measure]}, `{name}` − vanilla", found.value(name, f"{measure}_difference"))
            for measure in measures
        ]
        return difference(claim, parts, -1, NATS, 4)

    depends = [
        (
            f"{KINDS[measure]}, (`calibrated` − `raw`) in recurring − in windows",
            contrast(tables, "interaction", "calibrated - raw", "windows", measure, "recurring"),
        )
        for measure in KINDS
    ]
    return Section(
        "In which world does which mechanism pay?",
        "Does a self-state lower the loss of the model that has it? Two mechanisms, `raw` (statistics as they are) and `calibrated` "
        "(statistics standardised by running moments, ordinary initialisation, no weight decay on the controller), in worlds "
        f"that differ in how often there is something to sense. {_worlds()}",
        body,
        "A gain on training batches is one of predicting what comes next under the regime that acts, corrupted targets "
        "included. It does not yet say that sensing earns it: that is for the controls below, which the recurring world alone has; "
        "elsewhere a bias that senses nothing may gain as much. In the suite `controls`, whose regimes come once, too, such biases stand "
        "beside the raw mechanism ([controls](controls.md)).",
        [
            pays("calibrated", "recurring", "In the recurring world the calibrated state lowers the loss on calm steps.", ["clean_loss"]),
            pays("calibrated", "recurring", "In the recurring world the calibrated state lowers the loss on perturbed steps.", ["perturbed_loss"]),
            pays("calibrated", "mix", "In the mix of five regimes the calibrated state lowers the loss, on calm and on perturbed steps."),
            pays("calibrated", "windows", "Where each regime comes once, at set times, the calibrated state lowers the loss, on calm and on perturbed steps."),
            pays("calibrated", "random", "Where each regime comes once, at random times, the calibrated state lowers the loss, on calm and on perturbed steps."),
            pays("raw", "recurring", "In the recurring world the raw mechanism lowers the loss, on calm and on perturbed steps."),
            pays("raw", "mix", "In the mix of five regimes the raw mechanism lowers the loss, on calm and on perturbed steps."),
            pays("raw", "windows", "Where each regime comes once, at set times, the raw mechanism lowers the loss, on calm and on perturbed steps."),
            pays("raw", "random", "Where each regime comes once, at random times, the raw mechanism lowers the loss, on calm and on perturbed steps."),
            difference("What the calibrated mechanism gains over the raw one depends on the world: more in the recurring world than in windows.",
                       depends, -1, NATS, 4),
        ],
    )  # fmt: skip


def _in_world(found: ByCondition, mechanism: str, world: str, name: str) -> list[str]:
    """The row of a mechanism in a world."""
    values = [found.value(name, f"{measure}_difference") for measure in KINDS]
    return [f"`{name}`", world, mechanism, *(interval(value, 4) for value in values), str(values[0].n)]


def _worlds() -> str:
    """What each world is, in a sentence."""
    return f"{'; '.join(f'*{world}*: {said}' for world, said in WORLDS.items())}."


def controls(tables: Tables) -> Section:
    """Every condition of the recurring world beside the self-state, its share of the oracle's gain, and what explains the gain."""
    found = ByCondition(tables.rows(LOSSES))
    names = [name for name in IN_WORLD if found.value(name, "clean_loss_difference").n]
    body = [_control_table(tables, names, found) if names else MISSING]
    if names:
        body.append(
            "All in the recurring world, with the calibrated mechanism, where they have one. *Self-state*: "
            f"`{STATE}`. Below zero, *self-state − this* says that the self-state has the lower loss. Share: ratio of the mean gains, with "
            "Fieller's 95 % interval; a dash where the oracle itself gains nothing clear. That share includes what a bias that senses "
            "nothing gets, too. *Share beyond blind*: the same, both gains counted from that of the strongest control that senses nothing of "
            f"its own run's present{_strongest(tables)}. The oracle is the ceiling of a state that is shown the true regime in the same way: "
            "through running moments, so that its input while a regime acts varies in size, by how common the regime has been, "
            "and keeps its sign; not of any model that knows the regime."
        )
    return Section(
        "What explains the gain?",
        "Anything that gains as much without sensing, or without a state, explains the gain. Biases that never change; a state "
        "fed its own statistics in random order, another run's, or the time alone; one dimension; the last statistics read "
        f"directly, with nothing carried on; and, as the ceiling, the true regime (`{ORACLE}`).",
        body,
        "A control from which the self-state does not differ clearly is counted as explaining the gain; with few seeds that "
        "may be for want of seeds. A bias or state that senses nothing may still gain through more parameters: only what the "
        "self-state gains beyond it is sensing. `direct` has the same parameters and senses the same statistics; what the "
        "self-state gains beyond it is all that can be put down to carrying a state on.",
        _against(tables, names),
    )


def _control_table(tables: Tables, names: Sequence[str], found: ByCondition) -> str:
    """A row a condition, for calm and perturbed steps alike: its gain, the self-state's beside it, its shares."""
    head = ["condition"]
    for kind in KINDS.values():
        head += [
            f"{kind}: loss − vanilla's",
            "self-state − this",
            "share of the oracle's gain",
            "share beyond blind",
        ]
    summary = tables.rows(SUMMARY)
    rows = []
    for name in names:
        cells = []
        for measure in KINDS:
            share, (left, _) = share_of(summary, name, measure), beyond_blind(tables, name, measure)
            minus = contrast(tables, "control", STATE, name, measure)
            cells += [
                interval(found.value(name, f"{measure}_difference"), 4),
                interval(minus, 4) if minus.n else "–",
                *(interval(one, 2, sign=False) if one.n else "–" for one in (share, left)),
            ]
        rows.append([f"`{name}`", *cells, str(found.value(name, "clean_loss_difference").n)])
    return table([*head, "n"], rows)


def _against(tables: Tables, names: Sequence[str]) -> list[Finding]:
    """Whether some control explains the gain, and what the self-state has beyond them."""
    findings = [_explained(tables, measure, names) for measure in KINDS]
    for measure, kind in KINDS.items():
        blind = [
            (f"`{STATE}` − `{name}`", contrast(tables, "control", STATE, name, measure)) for name in BLIND
        ]
        findings.append(
            difference(f"On {kind} the self-state has a lower loss than every bias and every state that senses nothing of its own run's present.",
                       blind, -1, NATS, 4)
        )  # fmt: skip
    for name, claim in (
        ("direct", "A state that is carried on gains more than a direct reading of the last statistics"),
        ("state_1d", "A state of 32 dimensions gains more than one of a single dimension"),
    ):
        parts = [
            (f"{kind}, `{STATE}` − `{name}`", contrast(tables, "control", STATE, name, m))
            for m, kind in KINDS.items()
        ]
        findings.append(difference(f"{claim}, on calm and on perturbed steps.", parts, -1, NATS, 4))
    return findings + [_half(tables, measure, kind) for measure, kind in KINDS.items()]


def _explained(tables: Tables, measure: str, names: Sequence[str]) -> Finding:
    """Whether some control gains as much as the self-state, or not clearly less; those are named with what it means."""
    claim = f"No control explains the self-state's gain on {KINDS[measure]}."
    mine = ByCondition(tables.rows(LOSSES)).value(STATE, f"{measure}_difference")
    tested = {name: contrast(tables, "control", STATE, name, measure) for name in ENOUGH if name in names}
    tested = {name: value for name, value in tested.items() if value.n}
    if not mine.n or not tested:
        return Finding(claim, ABSENT, "It needs the self-state and controls in the recurring world.")
    n = min(mine.n, *(value.n for value in tested.values()))
    if n < FEWEST_SEEDS:
        return Finding(claim, OPEN, f"n = {n}: too few seeds to test.")
    if not mine.high < 0:
        return Finding(
            claim,
            NOT_CLEAR,
            f"There is no clear gain to explain: `{STATE}` − vanilla {interval(mine, 4)} nats, n = {n}.",
        )
    alike = [
        f"`{name}` ({ENOUGH[name]}; self-state − it {interval(value, 4)})"
        for name, value in tested.items()
        if not value.high < 0
    ]
    if alike:
        return Finding(
            claim,
            NOT_CLEAR,
            f"{listed(alike)} gain{'s' if len(alike) == 1 else ''} as much, or not clearly less, in nats, n = {n}.",
        )
    return Finding(
        claim, CLEAR, f"{listed([f'`{name}`' for name in tested])} all gain clearly less, n = {n}."
    )


def beyond_blind(tables: Tables, name: str, measure: str) -> tuple[Estimate, str]:
    """A condition's share of the oracle's gain beyond the strongest blind control, and that control; n = 0 where there is none."""
    rows = tables.rows(SUMMARY, quantity="share_beyond", condition=name, measure=measure)
    return tabled(rows), "" if rows.empty else str(rows["reference"].iloc[0])


def _strongest(tables: Tables) -> str:
    """The strongest blind controls by name, in brackets; nothing before they are known."""
    known = {kind: beyond_blind(tables, STATE, measure)[1] for measure, kind in KINDS.items()}
    said = [f"`{name}` on {kind}" for kind, name in known.items() if name]
    return f" ({listed(said)})" if said else ""


def _half(tables: Tables, measure: str, kind: str) -> Finding:
    claim = f"The self-state gets more than half of the oracle's gain on {kind}."
    share = share_of(tables.rows(SUMMARY), STATE, measure)
    if not share.n:
        return Finding(
            claim, ABSENT, "It needs two seeds in which both were measured, and a clear gain of the oracle."
        )
    if share.n < FEWEST_SEEDS:
        return Finding(claim, OPEN, f"Share {number(share.mean, 2)}, n = {share.n}: too few seeds to test.")
    verdict = CLEAR if share.low > 0.5 else NOT_CLEAR
    return Finding(
        claim,
        verdict,
        f"Share {interval(share, 2, sign=False)}, ratio of means with Fieller's interval, n = {share.n}.",
    )
