"""The published document row by row: what it says, what came out here, the verdict. README's results are these tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plots.series import Estimate, estimate, paired
from reports import controls, frozen, memory, published, shakespeare, swap
from reports.classification import CLEAN, PLAIN, REPEATED, STATE
from reports.markdown import interval, number, percent, signed, table
from reports.measured import during
from reports.parts import (
    ABSENT,
    FEWEST_SEEDS,
    INCONCLUSIVE,
    NOT_SUPPORTED,
    SUPPORTED,
    Finding,
    Section,
    Tables,
    over_seeds,
    side,
)
from reports.placebos import View, surplus
from reports.shakespeare import CHANNELS, Deltas

TESTED = "self_calm"  # the condition that is steered, as the published one: no regimes
Groups = Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]]


@dataclass(frozen=True)
class Answer:
    """A row of the published table of tests: its question, its answer, and the findings here that bear on it.

    page: the page they stand on. claims: their claims, word for word.
    """

    test: str
    said: str
    page: str
    claims: tuple[str, ...]


ANSWERS = (
    Answer(
        "Frozen-weight steering: does the state do anything?",
        "yes, learned directions reliably shift outputs, random ones don't",
        "frozen-test.md",
        (
            "Replication protocol: learned directions steer more than placebos selected alike.",
            "Held-out protocol, dimension finder: learned directions steer more than placebos selected alike.",
            "Held-out protocol, gradient finder: learned directions steer more than placebos selected alike.",
        ),
    ),
    Answer(
        "Fixed-bias ablation: is it just adding a constant?",
        f"no, {published.ANSWERS['fixed']}",
        "controls.md",
        (
            "The self-state's effect on the output answers to regimes as no constant bias's does.",
            "Loss, entropy, confidence and gradient norm react otherwise with a self-state than with a constant bias.",
            "A self-state gains more than every constant bias.",
        ),
    ),
    Answer(
        "1-D ablation: does it need many dimensions?",
        f"yes, {published.ANSWERS['state_1d']}",
        "controls.md",
        (
            "A state of one dimension responds more weakly.",
            "With its bias's norm matched, too, a state of one dimension responds more weakly.",
        ),
    ),
    Answer(
        "Vanilla comparison: are the effects unique to a self-state?",
        "partially: loss and entropy shift either way, state channels add information",
        "shakespeare.md",
        (
            "With a self-state the loss reacts otherwise to a regime than without.",
            "Each regime moves a channel of the state as no calm run does.",
        ),
    ),
    Answer(
        "Regime classification: can you tell what's wrong from the state?",
        "yes, with state channels perfectly",
        "shakespeare.md",
        (
            "The published way shows more than what the time alone tells.",
            "In runs left out, state channels tell regimes that loss, entropy and confidence do not.",
            "In runs left out, state channels tell more than the statistics that the state was made from.",
        ),
    ),
    Answer(
        "Memory: does remembering help?",
        f"a trade-off: {published.ANSWERS['memory']}",
        "memory.md",
        (
            "With a buffer the state drifts less in bewilderment than without memory.",
            "Buffers have less leverage than an EMA.",
            "Buffers have less leverage than an EMA beyond what placebos reach.",
        ),
    ),
    Answer(
        "Swap: is the state entangled with its weights?",
        published.ANSWERS["swap"],
        "swap.md",
        (
            "Things break: another seed's state raises the loss at once.",
            "Another seed's state costs more than a random one or none.",
        ),
    ),
)


def tables_of(study: Tables) -> Groups:
    """Title, head and rows of each table, from the tables of a study (those of any of its suites)."""
    first = study.of("shakespeare")
    head = ["what", "published", "here", "verdict"]
    regimes = ["regime, channel", "published Δ", "here, `self`", "here, `self` − `self_calm`", "verdict"]
    held = [
        "memory",
        "published share",
        "here",
        "published force",
        "here",
        "published leverage",
        "here",
        "verdict",
    ]
    return (
        ("Frozen-weight test", head, steering(first)),
        ("What each test shows", head, answers(study)),
        ("Regimes", regimes, regime_rows(first)),
        ("Naming the regime from the log", head, naming(first)),
        ("Memory", held, remembering(study.of("memory"))),
    )  # fmt: skip


def text(study: Tables) -> str:
    """All of it as Markdown, under headings of the third level."""
    parts = []
    for title, head, rows in tables_of(study):
        cells = table(head, rows).replace("---:", "---") if rows else "Not measured yet."
        parts.append(f"### {title}\n\n{cells}")
    return "\n\n".join(parts)


def steering(tables: Tables) -> list[list[str]]:
    """The published frozen-weight table, at the published step or the earliest weights kept."""
    view = View(tables, TESTED)
    steps = view.steps("frozen_conditions")
    if not steps:
        return []
    rows = view.rows("frozen_conditions", run_step=steps[0], protocol="replication")
    change = {
        state: over_seeds(rows[rows["state"] == state], "delta_entropy")
        for state in published.FROZEN_DELTA_ENTROPY
    }
    same = {state: over_seeds(rows[rows["state"] == state], "sign_consistency") for state in change}
    verdicts = {
        "confident": side(change["confident"], -1),
        "uncertain": side(change["uncertain"], +1),
        "random": _across(change["random"]),
    }
    found = []
    for state, said in published.FROZEN_DELTA_ENTROPY.items():
        spread = f" ± {number(published.FROZEN_RANDOM_SD, 2)}" if state == "random" else ""
        kept = f"{percent(same[state].mean)} of sequences" if same[state].n else "–"
        found.append(
            [
                f"{state}: Δ entropy, nats; same sign",
                f"{signed(said, 2)}{spread}; {published.FROZEN_SIGN_CONSISTENCY[state]}",
                f"{interval(change[state])}; {kept}",
                verdicts[state],
            ]
        )
    effects = view.rows(
        "frozen_effects_summary", run_step=steps[0], protocol="replication", finder="dimension"
    )
    effect = over_seeds(effects, "effect")
    rotated = effects[effects["placebo"] == "rotated"]
    found += [
        ["effect size, nats", number(published.EFFECT_SIZE, 2), interval(effect, sign=False), _reached(effect)],
        [
            "the same beyond a placebo selected alike (rotated reader)",
            "not measured",
            f"{interval(surplus(rotated))} (placebo {number(rotated['placebo_mean'].mean())})",
            side(surplus(rotated), +1),
        ],
    ]  # fmt: skip
    where = f", weights of step {steps[0]}, n = {effect.n}"
    found[0][0] += where
    return found


def _across(value: Estimate) -> str:
    """The verdict on "nothing consistent": the interval holds zero."""
    if value.n == 0:
        return ABSENT
    return INCONCLUSIVE if value.n < FEWEST_SEEDS else NOT_SUPPORTED if value.clear else SUPPORTED


def _reached(value: Estimate) -> str:
    """The verdict on an effect as large as the published one."""
    if value.n == 0:
        return ABSENT
    if value.n < FEWEST_SEEDS or value.low < published.EFFECT_SIZE <= value.high:
        return INCONCLUSIVE
    return SUPPORTED if value.low >= published.EFFECT_SIZE else NOT_SUPPORTED


def answers(study: Tables) -> list[list[str]]:
    """The published table of tests: each finding here that bears on a row, with its numbers."""
    found = []
    for answer in ANSWERS:
        on_page = findings(study, answer.page)
        for index, claim in enumerate(answer.claims):
            finding = on_page.get(claim, Finding(claim, ABSENT, ""))
            place = f"[{answer.test}](docs/results/{answer.page})" if index == 0 else ""
            evidence = finding.evidence.replace("|", "\\|")
            found.append(
                [place, answer.said if index == 0 else "", f"{claim} {evidence}".strip(), finding.verdict]
            )
    return found


def findings(study: Tables, page: str) -> Mapping[str, Finding]:
    """The findings of a page by their claims."""
    made = {
        "shakespeare.md": (shakespeare.sections, "shakespeare"),
        "frozen-test.md": (frozen.sections, "shakespeare"),
        "controls.md": (controls.sections, controls.SUITE),
        "memory.md": (memory.sections, memory.SUITE),
        "swap.md": (swap.sections, swap.SUITE),
    }
    sections, suite = made[page]
    sections_made: Sequence[Section] = sections(study.of(suite), "")
    return {finding.claim: finding for section in sections_made for finding in section.findings}


def regime_rows(tables: Tables) -> list[list[str]]:
    """The published table of regimes. A change counts that the same steps of a calm run do not show."""
    deltas = Deltas(tables)
    rows = []
    for regime, expected in published.REGIME_DELTAS.items():
        for metric, digits in CHANNELS.items():
            delta = deltas.of("self", regime, metric)
            beyond = paired(delta, deltas.of("self_calm", regime, metric))
            said = expected[metric]
            verdict = side(beyond, 1 if said > 0 else -1)
            if verdict == NOT_SUPPORTED and beyond.clear:
                verdict += ": the other sign"
            rows.append(
                [
                    f"`{regime}`, {metric}",
                    signed(said, min(digits, 3)),
                    interval(estimate(delta), digits),
                    interval(beyond, digits),
                    verdict,
                ]
            )
    return rows if any(row[2] != "–" for row in rows) else []


def naming(tables: Tables) -> list[list[str]]:
    """Accuracies of naming the regime: the published way, and with whole runs left out."""
    found = tables.rows("classification")
    if found.empty:
        return []
    rows = []
    for name, features in (("loss, entropy, confidence", PLAIN), ("with state channels", STATE)):
        said = published.CLASSIFICATION[features]
        for text, (protocol, condition) in (("the published way", REPEATED), ("whole runs left out", CLEAN)):
            here = found[(found["protocol"] == protocol) & (found["condition"] == condition)]
            here = here[here["features"] == features]
            if here.empty:
                continue
            accuracy, null = float(here["accuracy"].mean()), float(here["null_95"].max())
            reached = accuracy >= said - 0.005
            rows.append(
                [
                    f"{name}, {text}",
                    percent(said),
                    f"{percent(accuracy)} (95 % of permuted: below {percent(null)}; commonest class {percent(float(here['majority'].mean()))})",
                    (SUPPORTED if reached else NOT_SUPPORTED) if accuracy > null else NOT_SUPPORTED,
                ]
            )
    return rows


def remembering(tables: Tables) -> list[list[str]]:
    """The published table of memories, with the force of the memory's own part and the leverage of the frozen test."""
    measured = during(tables)
    leverage = tables.rows("memory_tradeoff")
    rows = []
    for name, (share, force, steer) in published.MEMORY.items():
        if not measured.value(name, "share").n:
            continue
        mine = measured.value(name, "share")
        known = mine.n >= FEWEST_SEEDS
        inside = mine.low <= share <= mine.high
        pulled = over_seeds(leverage[leverage["condition"] == name], "leverage")
        rows.append(
            [
                f"`{name}` (n = {mine.n})",
                number(share, 2),
                interval(mine, 2, sign=False),
                force,
                interval(measured.value(name, "force_memory"), 4),
                steer,
                interval(pulled, 3, sign=False),
                f"share {(SUPPORTED if inside else NOT_SUPPORTED) if known else INCONCLUSIVE}",
            ]
        )
    return rows
