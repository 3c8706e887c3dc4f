"""Real processes train one run: the same weights and state on all, those of one process but for rounding, and one end for all."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import perturb
import train
from base import storage
from base.rng import Stream
from base.storage import ROOT, UserError
from configs.run import RunConfig
from configs.suite import load_suite
from configs.toml_file import ConfigError
from data.tokens import drawn_from
from runs import evaluate, passes
from runs import folder as run_folder
from runs.ranks import ALONE, Ranks, joined
from runs.state import start
from tests.interrupted import Stop, interrupted_at
from tests.test_train import files, tiny, windows

STEPS = 12
CHAIN = {"kind": "chain", "tokens": 5}
RUNS = {
    "state": tiny(
        process=CHAIN, train__batch_size=2, train__grad_accum=3, train__dtype="float32", self_state__standardise=True,
        self_state__memory={"kind": "buffer", "length": 3, "stride": 2}, schedule=windows(("bewilderment", 3, 6)),
    ),
    "few": tiny(process=CHAIN, train__batch_size=6, self_state__senses={"kind": "own", "tokens": 5}),
    "rows": tiny(  # of which each has another number of scored positions
        process={"kind": "rows", "cropped": 0.5}, train__batch_size=4, model__block_size=38, channels={"names": ["time", "self"]}
    ),
}  # fmt: skip
SUITE = f"""
extends = "{ROOT / "configs" / "base.toml"}"
name = "shared"
seeds = 1
corpus = "chain"
model = {{ n_layer = 1, n_head = 2, n_embd = 16, block_size = 8 }}
train = {{ steps = 12, batch_size = 2, grad_accum = 3, warmup_steps = 2, dtype = "float32" }}
log = {{ effect_interval = 3, probe_sequences = 2, eval_interval = 4, eval_batches = 2, checkpoint_interval = 4, keep_steps = [5] }}
[processes.chain]
kind = "chain"
tokens = 5
[conditions.self]
mechanism = "calibrated"
[conditions.lost]
train.learning_rate = 1e9
train.grad_clip = 0.0
"""
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
WEIGHTS, LOG = (
    1e-4,
    1e-4,
)  # of a weight, and of a number of the log beside 1: what rounding may do in twelve steps


def walk(run: RunConfig, ranks: Ranks) -> dict[str, np.ndarray]:
    """All that a run has after its steps in float32, and its log as numbers."""
    assert run.process is not None
    tokens, cpu = drawn_from("x", run.process, run.seed), torch.device("cpu")
    now, regimes = replace(start(run, tokens, cpu), ranks=ranks), perturb.regimes_by_step(run)
    probe, _ = evaluate.batch(tokens, "heldout", run, 0, Stream.EVAL, evaluate.PROBE, cpu, 2)
    for step in range(STEPS):
        row = passes.alone(
            train.train_step(now, step, regimes[step], tokens, torch.float32, probe, {"evaluation": 0.0})
        )
        now.log(row)
    return {**now.tensors(), "log": numbers(now.rows)}


def numbers(rows: Sequence[Sequence[str]]) -> np.ndarray:
    """The rows of a log as float64, without the regime, zero where nothing was measured."""
    return np.array([[float(cell or 0) for cell in (*row[:1], *row[2:])] for row in rows])


def suite_file(folder: Path) -> Path:
    storage.write_text(folder / "shared.toml", SUITE)
    return folder / "shared.toml"


def trained(folder: Path, ranks: Ranks, progress: train.Progress | None = None) -> Path:
    """The suite's run `self`, in a folder."""
    run = load_suite(suite_file(folder), [f"train.ranks={ranks.count}"]).run("self", 1)
    return train.train(run, drawn_from("chain", run.process, 1), folder / "runs", progress, ranks=ranks)  # type: ignore[arg-type]


def on_a_rank(folder: Path) -> None:
    """What each of two processes does: runs in memory; a run, whole; the same one interrupted; and again, when one dies."""
    torch.set_num_threads(1)
    with joined() as ranks:
        for name, run in RUNS.items():
            storage.save_tensors(folder / f"{name}-{ranks.number}.safetensors", walk(run, ranks))
        with ranks.in_turn():
            suite_file(folder / "whole")
            suite_file(folder / "parts")
        trained(folder / "whole", ranks)
        try:
            trained(folder / "parts", ranks, interrupted_at(7))
        except Stop:
            ranks.wait()
        trained(folder / "parts", ranks)
        print("trained", flush=True)

        def dies(done: int, total: int) -> None:
            if done == 6 and not ranks.first:
                os._exit(9)

        trained(folder, ranks, dies)


def as_ranks(command: Sequence[str], folder: Path) -> list[tuple[int, str, str]]:
    """Status, output and errors of one command as ranks 0 and 1, that meet on the loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, **LOOPBACK, "PYTHONPATH": str(ROOT), "WORLD_SIZE": "2"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            [sys.executable, *command], env={**shared, "RANK": str(number), "LOCAL_RANK": str(number)}, cwd=folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *two) for process, two in zip(started, said, strict=True)]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, str, str]]]:
    """The folder that two processes worked in, and how they ended."""
    folder = tmp_path_factory.mktemp("both")
    suite_file(folder)
    program = "import sys; from base import command_line; from tests.test_ranks import on_a_rank; from pathlib import Path; "
    return folder, as_ranks(
        ["-c", f"{program}command_line.run(lambda _: on_a_rank(Path({str(folder)!r})))"], folder
    )


@pytest.mark.parametrize("name", RUNS)
def test_two_ranks_hold_one_run(both: tuple[Path, list[tuple[int, str, str]]], name: str) -> None:
    folder, ended = both
    one, two = (folder / f"{name}-{number}.safetensors" for number in range(2))
    assert one.is_file(), ended
    assert one.read_bytes() == two.read_bytes()
    together, alone = storage.load_tensors(one), walk(RUNS[name], ALONE)
    assert together.keys() == alone.keys()
    np.testing.assert_allclose(together.pop("log"), alone.pop("log"), rtol=LOG, atol=LOG)
    for key, array in alone.items():
        np.testing.assert_allclose(together[key], array, atol=WEIGHTS, err_msg=key)


def test_a_run_of_two_ranks_is_the_run_of_one_under_another_key(
    both: tuple[Path, list[tuple[int, str, str]]], tmp_path: Path
) -> None:
    suite_file(tmp_path)
    alone, (whole,) = trained(tmp_path, ALONE), (both[0] / "whole" / "runs").iterdir()
    assert whole.name != alone.name and run_folder.load_config(whole).train.ranks == 2
    assert files(whole).keys() == files(alone).keys()
    for name in ("model.safetensors", "model-step5.safetensors", "states.safetensors"):
        ours, theirs = (storage.load_tensors(run / name) for run in (alone, whole))
        for key, array in ours.items():
            np.testing.assert_allclose(theirs[key], array, atol=WEIGHTS, err_msg=key)
    logs = [[[*row.values()] for row in run_folder.load_log(run)] for run in (alone, whole)]
    np.testing.assert_allclose(numbers(logs[1]), numbers(logs[0]), rtol=LOG, atol=LOG)


def test_interrupted_ranks_end_with_the_same_bytes(both: tuple[Path, list[tuple[int, str, str]]]) -> None:
    (whole,), (parts,) = ((both[0] / name / "runs").iterdir() for name in ("whole", "parts"))
    assert storage.read_json(parts / "run.json")["resumed_from"] == 4
    assert files(parts) == files(whole)


def test_when_a_rank_dies_the_other_says_so_in_one_line(
    both: tuple[Path, list[tuple[int, str, str]]],
) -> None:
    folder, ((status, out, error), (dead, _, silent)) = both
    assert out == "trained\n" and (status, dead, silent) == (2, 9, "")
    assert error.startswith("error: another rank of this run ended") and error.count("\n") == 1
    (work,) = (folder / "runs").iterdir()
    assert (work / "step-00000004").is_dir()  # where the same command goes on from


def test_what_goes_wrong_under_torchrun_is_said_once(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        str(ROOT / "train.py"),
    ]
    done = subprocess.run(
        [*command, str(suite_file(tmp_path)), "--condition", "lost", "--out", str(tmp_path / "out")],
        env={**os.environ, **LOOPBACK}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode and len(said) == 1 and "the loss was not finite at step" in said[0], done.stderr
    assert done.stderr.count("Traceback (most recent call last)") == 1  # torchrun's own
    (diverged,) = (tmp_path / "out" / "runs").iterdir()
    assert storage.read_json(diverged / "run.json")["status"] == "diverged"


def test_sequences_that_do_not_divide_are_refused(tmp_path: Path) -> None:
    said = r"= 6 sequences a step can't be shared evenly by train\.ranks = 4 processes"
    with pytest.raises(ConfigError, match=said):
        load_suite(suite_file(tmp_path), ["train.ranks=4"])
    run = load_suite(suite_file(tmp_path), ["train.ranks=3"]).run("self", 1)
    with pytest.raises(UserError, match="start such a run with torchrun --nproc_per_node=3"):
        train.train(run, drawn_from("chain", run.process, 1), tmp_path)  # type: ignore[arg-type]
