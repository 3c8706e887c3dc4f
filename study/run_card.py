"""The run card: what a study ran on, with what, on which text, for how long. Written beside its results.

It says what the byte-for-byte promises hang on (docs/REPRODUCIBILITY.md), so that somebody who gets other numbers can
see where the two studies differ.
"""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from base import known_code, storage
from base.storage import ROOT, UserError
from configs import probe
from experiments.kit import words
from study import freshness, phases
from study.plan import Step, Study

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "matplotlib",
    "tiktoken",
    "safetensors",
    "pydantic",
)
FILE, PAGE = "run_card.json", "run-card.md"
EARLIER = "earlier"  # in the card of what is published phase by phase: the cards before it that still tell of something


def card(study: Study, done: Iterable[Step]) -> dict[str, Any]:
    """What a study's finished steps were made with, as JSON holds it.

    done: finished runs and tests. Their own records say when they were made, in which number type, on what, how long.
    """
    runs, tests = [], []
    done = list(done)
    places = {tuple(step.name.partition(" ")[2].split("/")[:2]) for step in done}  # suites and conditions
    begun = Counter(suite for suite, *_ in places)
    for step in done:
        if step.kind == "train":
            record = freshness.record_of(step.destination / "run.json")
            runs.append({**record, "resumed": record.get("resumed_from", 0) > step.arguments["run"].first})
        else:
            tests.append(freshness.record_of(freshness.record_path(study.out, step)))
    started = sorted(str(run["started"]) for run in runs if "started" in run)
    return {
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "warning": study.warning,
        "suites": {
            suite.name: {"conditions": begun[suite.name], "of": len(suite.conditions), "seeds": suite.seeds}
            for suite in study.suites
            if suite.name in begun
        },
        "corpora": {
            f"{name}, {tokens}": list(found) for (name, tokens), found in study.corpora.items() if found[1]
        },
        "runs": {
            "finished": len(runs),
            "first_started": started[0] if started else None,
            "last_started": started[-1] if started else None,
            "resumed": sum(run["resumed"] for run in runs),
            "core_seconds": round(sum(float(run.get("seconds", 0)) for run in runs), 1),
            **{name: _counted(run.get(name) for run in runs) for name in ("dtype", "device", "threads")},
            "versions": _counted(_versions(run.get("versions")) for run in runs),
        },
        "tests": {
            "finished": len(tests),
            "core_seconds": round(sum(float(t.get("seconds", 0)) for t in tests), 1),
        },
        "machine": machine(),
        "packages": {name: _version(name) for name in PACKAGES},
        "code": commit(ROOT),
        "of": _of(done),
        "made_by": {name: storage.hash_json(known_code.of(probe.place_of(name))) for name in probe.known()},
    }


def machine() -> dict[str, Any]:
    """This machine: system, processor, its instruction sets that decide number types, cores, memory."""
    import torch  # by a study that has something to say alone

    able = torch.cpu.get_capabilities()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "processor": _processor("model name"),
        "vendor": _processor("vendor_id"),
        "instructions": sorted(name for name, there in able.items() if there is True),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
    }


def commit(root: Path) -> dict[str, Any]:
    """The commit that a working tree stands on, 12 digits, and whether files differ from it; None outside a repository."""

    def git(*words: str) -> str:
        return subprocess.run(
            ("git", "-C", str(root), *words), capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "--short=12", "HEAD"),
            "changed": bool(git("status", "--porcelain")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "changed": None}


def write(study: Study, done: Iterable[Step]) -> Path:
    """Write the card as JSON and as a page for readers. Returns the path of the former."""
    found = card(study, done)
    path, pages = places(study)
    storage.write_sealed(path, found)
    for place in pages:
        storage.write_text(place, page(found))
    return path


def damage(study: Study, done: Iterable[Step]) -> str | None:
    """What is wrong with the card that stands: None where it is whole and of these steps, "" where there is none of them."""
    path, pages = places(study)
    if not any(os.path.lexists(place) for place in (path, *pages)):
        return ""
    try:
        found = storage.read_json(path)
        text = page(found).encode()
        if found.get("of") != _of(done):
            return ""
        for place in pages:
            if place.read_bytes() != text:
                return f"{place} was changed"
    except UserError as error:
        return str(error).split(";")[0]
    except OSError as error:
        return f"{error.filename} is missing"
    except (LookupError, TypeError, AttributeError):
        return f"{path} was changed"
    return None if storage.SEAL in found else f"{path} was changed"


def places(study: Study) -> tuple[Path, tuple[Path, ...]]:
    """Where the card of a study stands and its pages; that of a suite of the user's own beside that suite's pages."""
    report = study.out / "report"
    own = [suite.name for suite in study.suites if not phases.is_declared(suite.path)]
    if own:
        return report / own[0] / FILE, (report / own[0] / PAGE,)
    return study.out / FILE, (report / PAGE, report / phases.PUBLISHED / PAGE)


def _of(done: Iterable[Step]) -> str:
    """Which steps a card is of: a hash of their keys."""
    return storage.hash_json(sorted(str(step.key) for step in done))


def of_suite(found: Mapping[str, Any], suite: str) -> Mapping[str, Any]:
    """Of a card and those before it the newest that holds most of a suite's conditions; the card itself where none has any.

    A card that does not say of how many (`of`) is held against the one that has the most.
    """
    cards = [found, *found.get(EARLIER, ())]
    known = [one["suites"].get(suite, {"conditions": 0}) for one in cards]
    most = max(one["conditions"] for one in known)
    whole = [2 * one["conditions"] > one.get("of", most) for one in known]
    return next((one for one, is_whole in zip(cards, whole, strict=True) if is_whole), found)


def after(found: Mapping[str, Any], before: Mapping[str, Any], suites: Iterable[str]) -> dict[str, Any]:
    """A card with those before it that still tell of one of the suites published."""
    older = [bare(one) for one in (before, *before.get(EARLIER, ())) if one]
    told = [of_suite({**found, EARLIER: older}, suite) for suite in suites]
    kept = [one for one in older if any(one is card for card in told)]
    return {**found, EARLIER: kept} if kept else dict(found)


def bare(found: Mapping[str, Any]) -> dict[str, Any]:
    """A card alone, without those before it and without its seal."""
    return {name: part for name, part in found.items() if name not in (EARLIER, storage.SEAL)}


def page(found: Mapping[str, Any]) -> str:
    """The card as Markdown, and below it those before it; whatever their names hold."""
    parts = ["# Run card", "What it is for: docs/REPRODUCIBILITY.md.", _table(found)]
    for one in found.get(EARLIER, ()):
        parts += ["## Published before", _table(one)]
    return words.harmless("\n\n".join(parts) + "\n")


def _table(found: Mapping[str, Any]) -> str:
    runs, tests, here = found["runs"], found["tests"], found["machine"]
    hours = (runs["core_seconds"] + tests["core_seconds"]) / 3600
    rows = {
        "runs": f"{runs['finished']}, started {runs['first_started']} to {runs['last_started']}, {runs['resumed']} resumed",
        "tests of finished runs": str(tests["finished"]),
        "time of one core": f"{hours:.1f} hours: training {runs['core_seconds'] / 3600:.1f}, tests {tests['core_seconds'] / 3600:.1f}",
        "suites": "; ".join(f"{name}: {s['conditions']} conditions x {s['seeds']} seeds" for name, s in found["suites"].items()),
        "corpora, sha256 of tokens": "; ".join(f"{asked}: {name} {digest}" for asked, (name, digest) in found["corpora"].items()),
        "number type of products": _told(runs["dtype"]),
        "device, threads": f"{_told(runs['device'])}; {_told(runs['threads'])}",
        "versions at training": _told(runs["versions"]),
        "machine at the end": f"{here['system']}, {here['processor']}, {here['cores']} cores, {here['memory_gb']} GB",
        "its instruction sets": ", ".join(here["instructions"]),
        "packages at the end": ", ".join(f"{name} {version}" for name, version in found["packages"].items()),
        "code at the end": f"{found['code']['commit'] or 'no repository'}{', with changed files' if found['code']['changed'] else ''}",
    }  # fmt: skip
    said = [f"Written {found['written']}.", f"**{found['warning']}**"][: 1 + bool(found["warning"])]
    return "\n\n".join([*said, words.table(["what", ""], rows.items(), words=True)])


def _counted(values: Iterable[object]) -> dict[str, int]:
    return dict(sorted(Counter(str(value) for value in values).items()))


def _told(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(name if len(counts) == 1 else f"{name} ({count})" for name, count in counts.items()) or "–"
    )


def _versions(found: object) -> str:
    return (
        ", ".join(f"{name} {version}" for name, version in found.items())
        if isinstance(found, dict)
        else "unknown"
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor(what: str) -> str:
    """The processor's name or its maker's, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == what]
    return names[0] if names else platform.processor() or "unknown"
