"""Corruption: every file of the small study truncated, changed by a bit, emptied or deleted; none may be used silently."""

import random
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from base import storage
from configs.probe import known
from study import run_card
from tests.stress import results as outcome
from tests.stress import small_study as study
from tests.stress.small_study import TRAINED
from tests.stress.trials import Part, Trials, ended_with


def truncate(path: Path, draw: random.Random) -> None:
    """Cut a file off somewhere; one of a single byte is emptied."""
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(min(1, len(content) - 1), len(content))])


def flip(path: Path, draw: random.Random) -> None:
    """Flip one bit of one byte."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def empty(path: Path, draw: random.Random) -> None:
    path.write_bytes(b"")


def delete(path: Path, draw: random.Random) -> None:
    path.unlink()


def redirect(path: Path, draw: random.Random) -> None:
    """Let a link to a run point to another run, or to none."""
    path.unlink()
    path.symlink_to(draw.choice(["../../runs/0123456789abcdef", "../other/seed-1", "../self/seed-1"]))


WAYS: dict[str, Callable[[Path, random.Random], None]] = {
    "truncated": truncate,
    "flipped": flip,
    "emptied": empty,
    "deleted": delete,
}
CARD = (run_card.FILE, run_card.PAGE)
OF_LINKS = {"redirected": redirect, "deleted": delete}


def finished(trials: Trials, most: int | None = None) -> Part:
    """Every file of a finished study, and every link to a run.

    Each way of spoiling each file has to be named by a dry run, and one way of each file is mended, unless a sample is
    tried: then all are.
    """
    part = trials.part("spoilt artifacts of a finished study")
    cases = [(name, way) for name in outcome.artifacts(trials.whole) for way in WAYS]
    links = [path for path in sorted(trials.whole.rglob("*")) if path.is_symlink()]
    cases += [(path.relative_to(trials.whole).as_posix(), way) for path in links for way in OF_LINKS]
    for number, (name, way) in enumerate(study.sample(cases, most, trials.seed)):
        what = f"{name} {way}"
        if what in part.over:
            continue
        trials.copy(trials.whole, trials.out)
        link = (trials.out / name).is_symlink()
        (OF_LINKS if link else WAYS)[way](trials.out / name, random.Random(f"{trials.seed} {what}"))
        told = not link and not _of_a_name(name) and not name.endswith(CARD)  # what a dry run looks at
        if most is None and told and (number + number // len(WAYS)) % len(WAYS):
            end = study.forked(trials.place, trials.out, "--dry-run", "-v")
            lines = "\n".join(line for line in end.said.splitlines() if line.startswith("run "))
            part.count(what, ended_with(end, 0) + [f"not named: {end.said}"] * (not _named(name, lines)))
        else:
            gone = way == "deleted" and name.startswith("made/")  # without its record a result is a new one
            part.count(what, _noticed(trials, name, must_name=not link and not gone), mended=1)
    part.notes.append(f"{part.seen['mended']} made again, the others named by a dry run")
    return part


def unfinished(trials: Trials, most: int | None = None) -> Part:
    """Every file of a run that was killed near its end: checkpoints, weights put aside."""
    part = trials.part("spoilt files of an unfinished run")
    last = max(
        n for n, line in enumerate(trials.met[0], 1) if "/states.safetensors" in line and ".work/" in line
    )
    shutil.rmtree(trials.out, ignore_errors=True)
    study.forked(trials.place, trials.out, *TRAINED, fault=f"any:{last}:kill")
    killed = trials.place / "killed"
    trials.copy(trials.out, killed)
    (work,) = (folder for folder in (killed / "runs").glob(".*.work") if list(folder.glob("step-*")))
    files = [path for path in sorted(work.rglob("*")) if path.is_file() and path.name != "lock"]
    files = [path for path in files if not storage.is_leftover(path.name)]  # what was being written
    cases = [(path.relative_to(killed).as_posix(), way) for path in files for way in WAYS]
    for name, way in part.untried(study.sample(cases, most, trials.seed), " ".join):
        what = f"{name} {way}"
        trials.copy(killed, trials.out)
        WAYS[way](trials.out / name, random.Random(f"{trials.seed} {what}"))
        part.count(what, _noticed(trials, name, TRAINED, trials.after[0], must_name="step-" in name))
    return part


def texts(trials: Trials) -> Part:
    """The text itself, of which no checksum is known: the study follows it, as if it had begun on the text as it is now."""
    part = trials.part("spoilt texts")
    text = trials.place / "texts" / "tiny_text" / "input.txt"
    whole = text.read_bytes()
    for way in part.untried(WAYS, str):
        try:
            trials.copy(trials.whole, trials.out)
            WAYS[way](text, random.Random(f"{trials.seed} {way}"))
            end = study.forked(trials.place, trials.out, *TRAINED)
            refused = end.status == 2 and "input.txt" in end.said  # empty, or no longer UTF-8
            if refused or way == "deleted":  # without a text, the tokens made of it serve
                wrong = ended_with(end, 2 if refused else 0)
                wrong += outcome.differences(trials.out, trials.results)
            else:
                wrong = ended_with(end, 0)
                then = outcome.results(trials.out)
                shutil.rmtree(trials.out)
                afresh = study.forked(trials.place, trials.out, *TRAINED)
                wanted = outcome.results(trials.out)
                runs = [name for name in wanted if name.split("/")[0] in ("runs", "probes", "data", "tiny")]
                wrong += ended_with(afresh, 0)
                wrong += [f"{name} differs" for name in runs if then.get(name) != wanted[name]]
                wrong += ["the same as before"] * (not set(wanted) - set(trials.results))
            part.count(way, wrong)
        finally:
            text.write_bytes(whole)
    return part


def _noticed(
    trials: Trials,
    name: str,
    stage: Sequence[str] = (),
    wanted: dict[str, str] | None = None,
    must_name: bool = True,
) -> list[str]:
    """What is wrong after a start with a spoilt file: it must be made again, and be named where it still stood."""
    end = study.forked(trials.place, trials.out, *stage)
    wrong = ended_with(end, 0)
    if must_name and not _named(name, end.said) and not _of_a_name(name):
        wrong.append(f"it was not named: {end.said}")
    return wrong + outcome.differences(trials.out, trials.results if wanted is None else wanted)


def _named(name: str, said: str) -> bool:
    """Whether something was said of a spoilt file: its name, the step whose record it is, or its run."""
    parts = name.split("/")
    step = parts[-1].removesuffix(".json").replace("-", " ")
    return any(hint in said for hint in (parts[-1], *parts[1:2])) or step in re.sub("[/-]", " ", said)


def _of_a_name(name: str) -> bool:
    """Whether a file only says what the last result of a name was made of, which decides nothing but the words of a reason."""
    return name.startswith(tuple(f"made/{kind}-" for kind in ("train", *known())))
