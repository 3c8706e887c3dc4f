"""Generated input: real config files and command lines with something wrong in them, and what becomes of them.

`outcome` calls a command line in this process and fails unless it ends as a command may: success, or exit status 2
with one printable line. What would train for hours is stopped where it would begin, once all input was accepted.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

import frozen_test
import train
from base import storage
from configs.probe import Probe
from configs.suite import load_suite
from data import pydoc_text, sources
from data import tokenizers as tokenizers_module
from data.prepare import prepare_text
from experiments.kit import style
from probes import belief
from scripts import sample
from study import making, session
from study import request as studies
from tests.hostile import CONFIGS, TINY, assert_refused, drawing, ends, write_tables
from tests.least import TEXT

ORIGINALS = {path.name: path.read_bytes() for path in sorted(CONFIGS.glob("*.toml"))} | {
    "tiny.toml": TINY.encode()
}
SUITES = [name for name, content in ORIGINALS.items() if b"[conditions" in content]


class Accepted(Exception):
    """All input was taken; the work itself is left out."""


LITERALS = [
    *("0", "-1", "1", "2", "3", "7", "9999", "1000000000", "-1000000000", str(2**63), str(-(2**63)), str(2**64)),
    *(str(10**30), "9" * 4999, "0x" + "f" * 6000, "1_000", "0b1", "0o7", "1.0", "0.5", "-0.0", "1e-320", "1e308"),
    *("1e400", "-1e400", "inf", "-inf", "nan", "true", "false", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z"),
    *("''", "'a'", "'../../etc/passwd'", "'/etc/passwd'", '"a\\u0000b"', '"\\u001b[31mred\\u001b[0m"', '"\\u202E"'),
    *("'<script>alert(1)</script>'", "'| a | b |'", "'[x](javascript:1)'", f"'{'n' * 300}'", f"'{'long ' * 3000}'"),
    *('"one\\ntwo"', '"\\uD7FF"', "'ünïcode'", "'\U0001d518'", "'none'", "'own'", "'self'", "'char'", "'bpe:1024'", "'bpe:9'"),
    *("[]", "{}", "[[]]", "[1]", "[1, 'a']", "[{}]", "[true]", "[" * 40 + "]" * 40, "[" * 3000 + "]" * 3000),
    *("{a = 1}", "{kind = 'none'}", "{kind = 'buffer', length = 65536}", "{kind = 'windows', windows = []}"),
    *("{kind = 'recurring', regimes = ['bewilderment']}", "{kind = 7}", "{kind = []}", "{kind = {kind = 1}}"),
    *("{kind = 'random_windows', durations = {bewilderment = 1}}", "{condition = 'self', step = 10}"),
    *("{kind = 'windows', windows = [{regime = 'self_clamp', start = 9, end = 1}]}", "{" + "a={" * 60 + "}" * 61),
    *("'''\nlines\n'''", "'''", '"', "[", "{", "=", "", "#", "\\", "\x7f", "bare", "x.y", "-", "+", "1..2", "1e", "0x"),
]  # fmt: skip
KEYS = [
    *("model.n_layer", "model.n_embd", "model.n_head", "model.block_size", "train.steps", "train.stop"),
    *("train.batch_size", "train.grad_accum", "train.learning_rate", "train.beta1", "train.dtype", "log.keep_steps"),
    *("log.keep_checkpoints", "log.eval_interval", "self_state.dim", "self_state.senses", "self_state.memory"),
    *("self_state.memory.kind", "self_state.update", "match_norm_of", "schedule", "schedule.kind"),
    *("schedules.one", "schedules", "mechanism", "mechanisms.raw", "constant_bias", "constant_bias.kind", "start"),
    *("start.step", "regimes", "regimes.bewilderment", "regimes.self_clamp.mode", "conditions", "conditions.self"),
    *("conditions.self.schedule", "conditions.self.start", "conditions.new", "conditions.Self", "probe"),
    *("probe.frozen.conditions", "probe.frozen.steps", "probe.frozen.top", "probe.frozen.doses", "probe.belief.conditions"),
    *("signatures", "signatures.permutations", "name", "seeds", "seed", "corpus", "tokenizer", "extends", "quick"),
    *("path", "nothing", "a b", "a..b", ".", "", "x" * 300, "'\\u001b[31m'", '"\\u001b[31m"', '"<b>"', "ключ", "a." * 40 + "a"),
    *("a." * 3000 + "a", "[table]", "[[tables]]", "[conditions.a]", "[" + "a." * 100 + "a]", "__class__", "kind"),
]  # fmt: skip
WORDS = [
    *("", "-", "--", "---", "-x", "--help", "0", "1", "2", "-1", "10", "30", "1000000000", str(2**63), str(10**30)),
    *("9" * 5000, "1.5", "nan", "inf", "true", "self", "vanilla", "fixed", "other", "heard", "nobody", "Self", "own"),
    *("zero", "random", "../..", "/etc/passwd", "/dev/null/x", "/dev/zero", "a\0b", "a\nb", "\x1b[31mred", "‮rtl"),
    *("n" * 300, "/".join(["n" * 200] * 30), "<script>", "a|b", "ünïcode", "\udcff", "%s", "%(prog)s", "{}", "$HOME"),
    *("shakespeare", "tiny", "figures", "report", "data", "frozen_test", "tiny_text", "pydoc_char", "char", "gpt2"),
    *("bpe:1024", "bpe:300", "bpe:99999999999", "cpu", "cuda", "cuda:99", "*", "~", ".", "..", "tiny.toml", "run", "out"),
]  # fmt: skip

literals = st.one_of(
    st.sampled_from(LITERALS),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(repr),
    st.text(max_size=20).map(repr),
    st.text(max_size=20),
)
words = st.one_of(st.sampled_from(WORDS), st.text(max_size=10), st.integers(-3, 10**12).map(str))
GOOD = [
    *("train.steps=40", "model.n_embd=32", "conditions.self.train.beta1=0.8", "mechanism=calibrated", "seeds=2"),
    *("self_state.update=gru", "regimes.bewilderment.probability=1", "schedule=one", "tokenizer='bpe:300'", "train.stop=30"),
    *("probe.frozen.doses=3", "signatures.pre_steps=9", "corpus=pydoc_char", "log.keep_steps=[5, 10]", "start={}"),
    *("self_state.memory={kind='ema'}", "conditions.fixed.constant_bias={kind='learned'}", "probe.belief.conditions=['self']"),
]  # fmt: skip
settings_texts = st.one_of(
    st.sampled_from(GOOD),
    st.sampled_from(GOOD),
    st.tuples(st.sampled_from(KEYS), literals).map("=".join),
    st.sampled_from(KEYS),
    st.text(max_size=30),
)


@st.composite
def broken(draw: st.DrawFn, content: bytes) -> bytes:
    """A text with one to four things wrong: a value, a line, a byte, its end."""
    lines = content.split(b"\n")
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        index = draw(st.integers(0, len(lines) - 1))
        line = lines[index]
        kind = draw(
            st.sampled_from(
                ["value", "value", "value", "key", "line", "drop", "again", "move", "byte", "end"]
            )
        )
        if kind == "value" and b"=" in line:
            key = line.split(b"=")[0]
            lines[index] = key + b"= " + draw(literals).encode(errors="replace")
        elif kind == "key":
            lines[index] = draw(st.sampled_from(KEYS)).encode() + b" = " + line.split(b"=")[-1]
        elif kind == "line":
            added = f"{draw(st.sampled_from(KEYS))} = {draw(literals)}"
            lines.insert(index, added.encode(errors="replace"))
        elif kind == "drop" and len(lines) > 1:
            del lines[index]
        elif kind == "again":
            lines.insert(index, line)
        elif kind == "move":
            lines.append(lines.pop(index))
        elif kind == "byte" and line:
            place = draw(st.integers(0, len(line) - 1))
            lines[index] = line[:place] + draw(st.binary(max_size=3)) + line[place + 1 :]
        elif kind == "end":
            lines = lines[: index + 1]
    return b"\n".join(lines)


@dataclass
class Place:
    """A folder with everything that a command line could name: configs, a corpus, two finished runs."""

    folder: Path
    run: Path
    other: Path

    def restore(self) -> None:
        """Put back what was spoilt of its configs."""
        for name, content in ORIGINALS.items():
            storage.write_bytes(self.folder / "configs" / name, content)


def make_place(folder: Path, patch: pytest.MonkeyPatch) -> Place:
    """The folder, and this process made fit for it: nothing is downloaded, nothing trains for long."""
    for name, content in ORIGINALS.items():
        storage.write_bytes(folder / "configs" / name, content)
    storage.write_text(folder / "texts" / "tiny_text" / "input.txt", TEXT)
    patch.chdir(folder)
    patch.setenv("INTEROCEPTION_DATA", str(folder / "texts"))
    corpus = prepare_text("tiny_text", TEXT.encode(), folder / "out" / "data")
    suite = load_suite(folder / "configs" / "tiny.toml")
    runs = [train.train(suite.run("self", seed), corpus, folder / "out" / "runs") for seed in (1, 2)]
    torch.set_flush_denormal(False)  # which training sets, and Hypothesis can't do with
    for name, run in zip(("run", "other"), runs, strict=True):
        (folder / name).symlink_to(run)
    write_tables(folder / "out" / "tables" / "tiny", suite, runs)

    def no_network(*_: Any, **__: Any) -> bytes:
        raise OSError("no network")

    def no_gpt2(*_: Any) -> None:
        raise storage.UserError("tokenizer gpt2 cannot be had")

    patch.setattr(sources, "_fetch", no_network)
    patch.setattr(tokenizers_module, "_gpt2", no_gpt2)
    quick = sources.Source("pydoc_char", build=lambda: TEXT.encode(), recipe=pydoc_text.RECIPE)
    patch.setitem(sources.SOURCES, "pydoc_char", quick)
    patch.setattr(making, "draw", drawing("learning-curves.png"))
    patch.setattr(style, "DPI", 20)
    patch.setattr(session, "run", _checked_only)
    patch.setattr(train, "train", lambda *_, **__: runs[0])
    patch.setattr(frozen_test, "run", _small_only(frozen_test.run))
    patch.setattr(belief, "run", _small_only(belief.run))
    patch.setattr(sample, "generate", _short_only(sample.generate))
    return Place(folder, *runs)


def _checked_only(request: studies.Request) -> int:
    """The part of session.run before anything is written."""
    suites = studies.load_suites(request)
    studies.check_memory(suites, request.jobs)
    return 0


def _small_only(run: Callable[..., Any]) -> Callable[..., Any]:
    def small(folder: Path, step: int, settings: Probe, *rest: Any) -> Any:
        sizes = settings.model_dump(exclude={"conditions", "steps", "magnitude", "foreign"}).values()
        if max(sizes) > 10:
            raise Accepted
        return run(folder, step, settings, *rest)

    return small


def _short_only(generate: Callable[..., Any]) -> Callable[..., Any]:
    def short(gpt: Any, prompt: Any, length: int, *rest: Any) -> Any:
        if length > 30:
            raise Accepted
        return generate(gpt, prompt, length, *rest)

    return short


counts: Counter[tuple[str, str]] = Counter()  # inputs tried, by what they were given to and how they ended
ENDS = ("refused", "accepted", "tracebacks")


def outcome(main: Callable[[Sequence[str]], object], arguments: Sequence[str], kind: str) -> None:
    """Call a command line and count its end under `kind`. AssertionError where it is neither success nor one line."""
    status: object = 0
    try:
        with contextlib.suppress(Accepted):
            status, said = ends(main, *arguments)
        if status:
            assert_refused((status, said))
    except Exception as problem:
        counts[kind, "tracebacks"] += 1
        raise AssertionError(f"{kind} {list(arguments)}: {problem!r}") from problem
    finally:
        torch.set_flush_denormal(False)
    counts[kind, "refused" if status else "accepted"] += 1


def figures() -> str:
    """A table of what was tried and how it ended, its last line the sums."""
    kinds = sorted({kind for kind, _ in counts})
    rows = [(kind, [counts[kind, end] for end in ENDS]) for kind in kinds]
    rows.append(("inputs tried", [sum(row[place] for _, row in rows) for place in range(len(ENDS))]))
    head = f"{'':<24}{'tried':>8}" + "".join(f"{end:>12}" for end in ENDS)
    lines = [f"{kind:<24}{sum(row):>8}" + "".join(f"{one:>12}" for one in row) for kind, row in rows]
    return "\n".join([head, *lines])
