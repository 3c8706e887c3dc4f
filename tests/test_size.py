"""What a run takes, as it is told before it is made, against what it does take."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import train
from base import ROOT, machine
from base.errors import UserError
from configs import size
from configs.run import RunConfig
from configs.suite import load_suite
from data.prepare import prepare_text
from model import GPT
from runs import folder as run_folder
from self_state import ConstantBias, SelfState
from study import plan as pipeline
from study import preview
from study import request as studies
from study.plan import Study
from tests.hostile import assert_refused, ends
from tests.tiny_study import request

STEPS = {"steps": 4, "batch_size": 2, "warmup_steps": 1}
WIDE = {"n_layer": 2, "n_head": 2, "n_embd": 64, "block_size": 16}


def run_of(**fields: Any) -> RunConfig:
    given = {"corpus": "tiny_text", "model": WIDE, "train": STEPS, "log": {}, "regimes": {}, **fields}
    return RunConfig.model_validate({"self_state": {"enabled": False}, **given}, strict=False)


STATES: dict[str, dict[str, Any]] = {
    "none": {},
    "biases": {"model": {**WIDE, "bias": True}},
    "constant": {"constant_bias": {"kind": "learned"}},
    "mlp": {"self_state": {"dim": 7, "hidden": 9}},
    "linear": {"self_state": {"update": "linear"}},
    "gru": {"self_state": {"update": "gru", "dim": 1}},
    "average": {"self_state": {"memory": {"kind": "ema", "features": 3}}},
    "ring": {"self_state": {"memory": {"kind": "buffer", "length": 5, "projection": True}}},
}


@pytest.mark.parametrize("fields", STATES.values(), ids=STATES)
@pytest.mark.parametrize("vocabulary", [65, 1024])
def test_weights_are_those_of_the_modules(vocabulary: int, fields: dict[str, Any]) -> None:
    run = run_of(**fields)
    modules = [GPT(run.model, vocabulary)]
    if run.self_state.enabled:
        modules.append(SelfState(run.self_state, run.model.n_embd))  # type: ignore[arg-type]
    if run.constant_bias.kind != "none":
        modules.append(ConstantBias(run.constant_bias, run.model.n_embd))  # type: ignore[arg-type]
    found = sum(parameter.numel() for module in modules for parameter in module.parameters())
    assert size.weights(run, vocabulary) == found


def test_the_larger_model_is_gpt2_and_a_dry_run_tells_its_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ROOT / "configs" / "gpt2_small.toml"
    run = load_suite(path).run("vanilla", 1)
    assert (
        size.weights(run, size.tokens_of(run)) == 124_439_808 + 768
    )  # as published, and the row of the mask token
    assert size.step_gflop(run) == pytest.approx(6e-9 * 480 * 1024 * (124_439_808 + 768))
    monkeypatch.setattr(machine, "memory", lambda: int(1e12))
    told = preview.dry_run(request(tmp_path, path), every=False).splitlines()
    (vanilla,) = [
        line for line in told if line.startswith("vanilla: 124,440,576 parameters; a worker takes ")
    ]
    parts = ("weights 0.50, gradients 0.50, optimizer 1.00, activations ", " GFLOP a step, 733,9", " a run")
    assert all(part in vanilla for part in parts), vanilla
    assert any(
        line.startswith("gpt2_small: 2 runs, 1,46") and line.endswith(" GFLOP in all") for line in told
    )


@pytest.mark.parametrize("fields", STATES.values(), ids=STATES)
def test_the_memory_is_the_sum_of_its_parts(fields: dict[str, Any]) -> None:
    run = run_of(**fields)
    parts, each = size.memory_parts(run), 4 * size.weights(run, 256)
    assert size.memory(run) == sum(parts.values())
    assert [parts[name] for name in ("weights", "gradients", "optimizer")] == [each, each, 2 * each]


@pytest.mark.parametrize(("tokenizer", "tokens"), [("char", 256), ("bpe:1024", 1024), ("gpt2", 50_257)])
def test_a_tokenizer_says_how_many_embeddings_there_are(tokenizer: str, tokens: int) -> None:
    char, other = run_of(), run_of(tokenizer=tokenizer)
    more = (tokens - 256) * char.model.n_embd
    assert size.tokens_of(other) == tokens
    assert size.disk(other, tokens) - size.disk(char, 256) == 4 * more
    assert size.memory(other) - size.memory(char) >= 20 * more
    assert size.step_gflop(other) - size.step_gflop(char) == pytest.approx(6e-9 * 2 * 16 * more)


def test_the_disk_covers_what_a_run_writes(tmp_path: Path) -> None:
    corpus = prepare_text("tiny_text", b"To be, or not to be. " * 900, tmp_path / "data")
    kept = {"keep_steps": [2], "keep_checkpoints": [2, 3], "checkpoint_interval": 1}
    run = run_of(self_state={"dim": 32}, log={**kept, "eval_batches": 1})

    def taken(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    most = 0

    def show(*_: int) -> None:
        nonlocal most
        most = max(most, taken(tmp_path / "runs"))

    folder = train.train(run, corpus, tmp_path / "runs", show)
    records = 40_000  # config.json, run.json and the heads of files
    assert 0.9 < taken(folder) / (size.disk(run, corpus.vocab_size) + records) < 1
    allowed = size.disk_on_the_way(run, corpus.vocab_size, run_folder.KEPT_CHECKPOINTS) + 4 * records
    assert taken(folder) < most < allowed


TEXTS = {  # of the same number of characters, few of them different, or many
    "few": "abcdefghij" * 2000,
    "many": "".join(chr(0x4E00 + place) for place in range(10_000)) * 2,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_study_too_large_for_the_disk_is_refused(
    tmp_path: Path, suite_file: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """The embeddings of the text's own characters count."""
    corpus = prepare_text("tiny_text", text.encode(), tmp_path / "data")
    suites = studies.load_suites(request(tmp_path, suite_file, seeds=1))
    tokens = {("tiny_text", "char"): ("tiny_text", corpus.tokens_sha256)}
    tasks = pipeline.plan(study := Study(tmp_path, suites, tokens))
    runs = [task.arguments["run"] for task in tasks if task.kind == "train"]
    written = sum(4 * size.weights(run, len(set(text))) for run in runs)
    free = shutil.disk_usage(tmp_path)._replace(free=written)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(UserError, match="make room"):
        studies.check_disk(study, tasks, jobs=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=30 * written))
    studies.check_disk(study, tasks, jobs=1)


def test_a_run_larger_than_the_machine_is_refused_by_name(
    tmp_path: Path, suite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "a run of self needs about .* GB of memory, this machine has 0.4; use a smaller model"
    monkeypatch.setattr(machine, "memory", lambda: int(machine.PROGRAM + 1e7))
    monkeypatch.chdir(tmp_path)
    wide = "model.n_embd=512"
    size.check(load_suite(suite_file))
    with pytest.raises(UserError, match=f"{suite_file}: {said}"):
        size.check(load_suite(suite_file, [wide]))
    with pytest.raises(UserError, match=said):
        studies.load_suites(request(tmp_path, suite_file, wide))
    line = (str(suite_file), "--condition", "self", "--set", wide)
    assert_refused(ends(train.main, *line), "a run of self needs about")
    assert not (tmp_path / "out").exists()
