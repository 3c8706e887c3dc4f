"""Check committed tables against a study that is trained afresh: `run_all.py --verify`.

The fresh study has a folder for itself and takes nothing from any other. An interrupted check goes on where it stopped;
a finished one is done again from nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from base import storage
from base.errors import UserError
from configs.suite import Suite
from experiments.kit import tables as files
from study import agreement, freshness, phases, progress, run_card
from study import plan as pipeline
from study import request as studies
from study.agreement import SEED, Agreement
from study.plan import Step, Study
from study.request import Request
from study.runner import Failure, Runner

MARK = "verification.json"  # in the folder of a check: that it is one, and how it ended
SHOWN = 10  # of the tables with something outside, the worst value of each
# Reasons that change the rounding and nothing else
ROUNDING = ("other kind of processor", "other instruction sets")
NEEDS_OTHERS: dict[str, tuple[str, ...]] = {
    "classification_seeds": (),
    "update_probe": (),
    "update_probe_regimes": (),
    "swap_summary": ("floor", "steps_until"),
    "steering_trained": ("shuffled_mean", "p_value", "draws"),
    "beliefs": (),
    "belief_example": (),
}
"""By table, values in a seed's rows that are made with other seeds' runs too, which fewer seeds can't give; (): all."""


@dataclass
class Verdict:
    """What came of one suite. reasons: why its numbers may differ; without one they must be equal to the digit."""

    suite: str
    seeds: tuple[str, ...]
    committed_seeds: tuple[str, ...]
    reasons: tuple[str, ...]
    tables: list[Agreement] = field(default_factory=list)

    @property
    def closeness(self) -> float:
        if not self.reasons:
            return agreement.EQUAL
        return agreement.ROUNDING if set(self.reasons) <= set(ROUNDING) else agreement.SEEDS

    def sum(self, name: str) -> int:
        return sum(getattr(table, name) for table in self.tables)

    def count(self, *states: str) -> int:
        return sum(table.count(*states) for table in self.tables)

    @property
    def measured(self) -> int:
        return sum(int(table.cells["number"].sum()) for table in self.tables)

    @property
    def outside(self) -> int:
        return sum(len(table.outside) for table in self.tables)

    @property
    def holds(self) -> bool:
        unusual = self.count("unusual") > agreement.USUAL * max(1, self.measured)
        return not self.outside and not unusual and self.sum("rows") > 0


def run(request: Request, committed: Path) -> int:
    """Train afresh what the committed tables come from, for the seeds asked for (else the first), and compare.

    Args:
        request: its `out` is the folder of the check.
        committed: a folder with `tables/<suite>/` and `run_card.json`, as `--publish` leaves it.

    Returns:
        0 where all agrees, 1 where something does not, or could not be made.

    Raises:
        UserError: no such tables, tables of a study of another size or corpus, or a folder that holds something else.
    """
    request = replace(request, seeds=request.seeds or 1)
    suites = committed_suites(request, committed)
    studies.check_memory(suites, request.jobs)
    card = _card(committed, suites)
    mark(request.out)
    with studies.locked(request.out):
        begin(request.out, request.force)
        study, plan = planned(request, suites)
        for suite in suites:
            for line in _unlike_at_once(study, suite, plan, committed):
                print(f"note: {line}", flush=True)
        done, failures = make(request, study, plan)
        if failures:
            return tell(failures)
        fresh = run_card.card(study, done)
        verdicts = [
            judge(suite.name, committed, request.out, origins(card, fresh, suite.name)) for suite in suites
        ]
        text = report(verdicts, committed)
        storage.write_json(request.out / MARK, {"state": "done", "card": fresh, "report": text.splitlines()})
        print(text, flush=True)
        return 0 if all(verdict.holds for verdict in verdicts) else 1


def committed_suites(request: Request, committed: Path) -> tuple[Suite, ...]:
    """The suites asked for that have committed tables."""
    chosen = phases.choose(request.only) if request.only else None
    asked = [
        suite
        for suite in studies.load_suites(request)
        if chosen is None or phases.asked(suite.path, suite.name, chosen)
    ]
    if not asked:
        raise UserError(
            f"--verify trains afresh, and {' '.join(request.only)} trains nothing; name a phase that does"
        )
    found = tuple(suite for suite in asked if "runs" in files.names(committed / "tables", suite.name))
    if not found:
        names = ", ".join(suite.name for suite in asked)
        raise UserError(
            f"{committed / 'tables'} has no tables of {names} to check; publish a study first, or name another folder"
        )
    return found


def _card(committed: Path, suites: Sequence[Suite] = ()) -> Mapping[str, Any]:
    """The run card beside the tables, of a suite of the user's own with its pages; {} where there is none."""
    own = [committed / "report" / suite.name / run_card.FILE for suite in suites]
    path = next((path for path in own if path.is_file()), committed / run_card.FILE)
    found = storage.read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise UserError(f"{path} is no run card; take it from the repository again")
    return found


def mark(out: Path) -> None:
    """Make the folder of a check. UserError where it holds anything else, which starting afresh would lose."""
    if (out / MARK).is_file():
        return
    if out.exists() and any(path.name != ".lock" and not path.is_dir() for path in out.rglob("*")):
        raise UserError(
            f"{out} holds something else than a check of results; choose a folder that is not there yet with --out"
        )
    storage.write_json(out / MARK, {"state": "begun"})


def begin(out: Path, afresh: bool) -> None:
    """Empty a marked folder whose check came to its end."""
    found = freshness.record_of(out / MARK)
    if afresh or found.get("state") != "begun":
        for path in list(out.iterdir()):
            if path.name not in (".lock", MARK):
                storage.remove(path)
        for name in studies.FOLDERS:
            (out / name).mkdir()
        storage.write_json(out / MARK, {"state": "begun"})


def planned(request: Request, suites: Sequence[Suite]) -> tuple[Study, list[Step]]:
    """The study in the folder of the check, its corpora ready, and its steps."""
    study, _, said = studies.find_corpora(request, suites, prepare=suites)
    for line in said:
        print(f"note: {line}", flush=True)
    study = replace(study, claims=False)
    return study, pipeline.plan(study)


def make(request: Request, study: Study, plan: Sequence[Step]) -> tuple[list[Step], list[Failure]]:
    """Train, test and put into tables what is not there yet. Returns what is finished, and what failed."""
    decisions = freshness.examine(request.out, plan)
    stale = frozenset(name for name, decision in decisions.items() if decision.run)
    due = [step for step in plan if step.name in stale]
    studies.check_disk(study, due, request.jobs)
    costs = progress.Costs()
    costs.learn(request.out, [step for step in plan if step.name not in stale])
    seconds = sum(costs.of(step) for step in due) / request.jobs
    trained = sum(step.kind == "train" for step in due)
    print(
        f"to make afresh in {request.out}: {trained} runs, {len(due) - trained} tests of finished runs, then tables; "
        f"about {progress.duration(seconds)}",
        flush=True,
    )
    runner = Runner(study, plan, stale, stale, ("note", "table"), request.jobs, costs)
    failures = runner.run()
    return list(runner.done.values()), failures


def tell(failures: Sequence[Failure]) -> int:
    """Name what failed. Returns 1 if anything did."""
    for failure in failures:
        print(f"{failure.step.name}: {failure.error}; log: {failure.log}")
    if failures:
        print("what is named above failed; the same command goes on with what is missing")
    return int(bool(failures))


def _unlike_at_once(study: Study, suite: Suite, plan: Sequence[Step], committed: Path) -> list[str]:
    """What can be said before hours are spent. UserError where the committed runs are no runs of this suite."""
    place = ("condition", SEED, "key", "steps", "corpus")
    runs = files.read(committed / "tables", suite.name, "runs", place, texts=True)
    mine = runs[runs[SEED].isin([str(seed + 1) for seed in range(suite.seeds)])]
    path = committed / "tables" / suite.name / "runs.csv"
    if mine.empty:
        raise UserError(f"{path} has no run of seeds 1 to {suite.seeds}; give more --seeds")
    keys = {view: step.key for step in plan for view in step.views}
    same = 0
    for condition, seed, key, steps, corpus in mine[[*place]].itertuples(index=False):
        planned = suite.conditions.get(condition)
        if planned is None:
            continue
        where = f"{path}: run {condition}, seed {seed}"
        if str(planned.last - planned.first) != steps:
            raise UserError(f"{where} has {steps} steps, here it would have {planned.last - planned.first}")
        used = study.corpora[planned.text][0] if planned.text else planned.corpus
        if used != corpus:
            raise UserError(
                f"{where} was trained on {corpus}, which is not to be had here: this study takes {used}"
            )
        whole = keys.get(study.out / suite.name / condition / f"seed-{seed}") or ""
        same += whole[:16] == key
    if same == len(mine):
        return []
    return [
        f"{suite.name}: {len(mine) - same} of {len(mine)} committed runs were made by other code, config or data, or by a "
        f"Python that reads code otherwise: their numbers are compared within tolerance"
    ]


def origins(committed: Mapping[str, Any], fresh: Mapping[str, Any], suite: str) -> tuple[str, ...]:
    """Why a suite's numbers may differ, from two run cards; none: they must be equal to the digit."""
    if not committed:
        return ("no run card is committed beside the tables",)
    if isinstance(committed.get("suites"), Mapping):
        committed = run_card.of_suite(committed, suite)
    if suite not in _at(committed, "suites", default={}):
        return (f"the committed run card is of a study without {suite}",)
    found = []
    for what, *place in (
        ("Python, torch or NumPy at training", "runs", "versions"),
        ("number type of products", "runs", "dtype"),
        ("device", "runs", "device"),
        ("threads", "runs", "threads"),
        ("kind of processor", "machine", "vendor"),
        ("instruction sets", "machine", "instructions"),
        ("code of tests and tables", "made_by"),
        *((name, "packages", name) for name in ("numpy", "scipy", "pandas", "scikit-learn")),
    ):
        one, other = _at(committed, *place), _at(fresh, *place)
        counted = place[0] == "runs"  # of these, how many runs there are of each is beside the point
        if one is None or (set(one) if counted else one) != (set(other) if counted else other):
            found.append(f"other {what}" if one is not None else f"no record of {what}")
    return tuple(found)


def _at(card: Mapping[str, Any], *place: str, default: Any = None) -> Any:
    """The value at a place in a run card, or the default."""
    value: Any = card
    for name in place:
        if not isinstance(value, Mapping):
            return default
        value = value.get(name, default)
    return value


def judge(suite: str, committed: Path, out: Path, reasons: Sequence[str]) -> Verdict:
    """Compare all committed tables of a suite with the fresh ones."""
    folders = committed / "tables", out / "tables"
    place = ["condition", SEED, "key"]
    runs, fresh = (files.read(folder, suite, "runs", place, texts=True) for folder in folders)
    keys, fresh_keys = ({*table[place].itertuples(index=False, name=None)} for table in (runs, fresh))
    if not fresh_keys <= keys:
        reasons = ("other code, config or data of runs", *reasons)
    seeds = tuple(dict.fromkeys(fresh[SEED]))
    found = Verdict(suite, seeds, tuple(dict.fromkeys(runs[SEED])), tuple(reasons))
    some = None if keys == fresh_keys else seeds
    for name in files.names(folders[0], suite):
        old, new = (files.read(folder, suite, name, texts=True) for folder in folders)
        others = NEEDS_OTHERS.get(name)
        table = agreement.compare(f"{suite}/{name}", old, new, some, found.closeness, others)
        found.tables.append(table)
    return found


def report(verdicts: Sequence[Verdict], committed: Path) -> str:
    """What came of it, in lines: a suite each, then the worst values, then the verdict."""
    lines = [f"committed: {committed / 'tables'}"]
    for one in verdicts:
        asked = "equality to the digit (same code, data, versions and kind of processor)"
        if one.reasons:
            asked = (
                f"equality within tolerance, from the spread of {len(one.committed_seeds)} committed seeds "
                f"({'; '.join(one.reasons)})"
            )
        seeds = f"{'seed' if len(one.seeds) == 1 else 'seeds'} {' '.join(one.seeds)}"
        lines.append(f"suite {one.suite}, {seeds}: asked for {asked}")
        values = sum(len(table.cells) for table in one.tables)
        lines.append(
            f"  {len(one.tables)} tables, {one.sum('rows')} rows, {values} values: {one.count('equal')} equal, "
            f"{one.count('within', 'unusual')} within tolerance, {one.outside} outside"
        )
        if one.reasons and one.measured:
            share = one.count("unusual") / one.measured
            lines.append(
                f"  beyond the usual limit: {share:.1%} of {one.measured} measured values, at most {agreement.USUAL:.0%} may be"
            )
        pooled = [table.table.rpartition("/")[2] for table in one.tables if table.pooled]
        if one.sum("left_out"):
            among = f", among them tables pooled over seeds: {', '.join(pooled)}" if pooled else ""
            lines.append(f"  left out: {one.sum('left_out')} rows of other seeds or of all{among}")
        if one.sum("not_committed"):
            lines.append(
                f"  not committed: {one.sum('not_committed')} rows that the fresh tables have besides"
            )
    bad = {table.table: table.outside for one in verdicts for table in one.tables}
    bad = {name: outside for name, outside in bad.items() if outside}
    if bad:
        worst = sorted(bad.values(), key=lambda outside: -max(outside.values()))
        lines.append("outside, the worst value of each table:")
        lines += [f"  {next(iter(outside))}" for outside in worst[:SHOWN]]
        more = Counter({name: len(outside) for name, outside in bad.items()})
        lines.append("  in all: " + ", ".join(f"{name} {count}" for name, count in more.most_common()))
    if all(one.holds for one in verdicts):
        lines.append("verified: the committed tables are what a fresh run gives")
    else:
        names = ", ".join(one.suite for one in verdicts if not one.holds)
        lines.append(f"NOT verified: {names}")
    return "\n".join(lines)
