"""The published mechanism against numbers that the published code printed: five updates of its controller in eight cases.

tests/published/controller.json.gz holds fixed weights, statistics and what came of them (float32, nine digits), made by
running the published controller; see docs/PARITY.md.
"""

import functools
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import perturb
from base.rng import Stream, generator
from configs.state import BufferMemory, EmaMemory, Memory, NoMemory
from configs.state import SelfState as SelfStateConfig
from configs.world import FalseFeedback, Regimes, SelfClamp
from self_state import SelfState

ORACLE = json.loads(
    gzip.decompress((Path(__file__).parent / "published" / "controller.json.gz").read_bytes())
)
REGIMES = Regimes(self_clamp=SelfClamp(mode="clamp", limit=0.01), false_feedback=FalseFeedback(loss=0.5))


def memory_of(case: dict[str, Any]) -> Memory:
    shared = {"scale": case["scale"], "limit": case["k"]}
    if case["mode"] == "ema":
        return EmaMemory(kind="ema", decay=case["a"], **shared)
    if case["mode"] == "buffer":
        return BufferMemory(kind="buffer", length=case["L"], stride=case["stride"], **shared)
    return NoMemory()


def made_of(memory: Memory) -> SelfState:
    made = SelfState(SelfStateConfig(hidden=32, activation="tanh", decay=0.2, memory=memory), ORACLE["width"])
    weights = {name: torch.tensor(values) for name, values in ORACLE["weights"].items()}
    inputs = 5 if memory.kind == "none" else 15
    named = {
        "reader.weight": weights["state_proj_weight"],
        "network.0.weight": weights["trunk_weight"][:, :inputs],
        "network.0.bias": weights["trunk_bias"],
        "network.2.weight": weights["head_weight"],
        "network.2.bias": weights["head_bias"],
    }
    if memory.kind != "none":
        named |= {
            "recall.linear.weight": weights["mem_feat_weight"],
            "recall.gate.weight": weights["gate_weight"],
        }
        named |= {"recall.gate.bias": weights["gate_bias"]}
    made.load_state_dict(named)
    return made


@pytest.mark.parametrize("name", ORACLE["cases"])
def test_five_updates_are_those_of_the_published_controller(name: str) -> None:
    case = ORACLE["cases"][name]
    asked = case["params"]
    made = made_of(memory_of(asked))
    value = made.initial()
    if asked["s0"] is not None:
        value = replace(value, state=torch.tensor(ORACLE["init_state"]))
    average = value.state
    for step, (stats, expected) in enumerate(zip(ORACLE["stats"], case["float32"], strict=True)):
        regime = "self_clamp" if step == asked["clamp_at"] else "calm"
        before = value.state.detach()
        value, parts = perturb.update_state(
            regime,
            made,
            value,
            torch.tensor(stats),
            REGIMES,
            functools.partial(generator, 0, Stream.PERTURB, step),
        )
        assert parts is not None
        state = value.state.detach()
        average = 0.99 * average + 0.01 * state
        close = {
            "raw": parts.target, "state": state, "mlp_norm": parts.target.norm(), "self_norm": state.norm(),
            "self_delta": (state - before).norm(), "self_drift": 1 - F.cosine_similarity(state, average, dim=0),
            "injected_norm": made.read(state).norm(), "injected_first8": made.read(state)[:8],
        }  # fmt: skip
        if parts.memory is not None and parts.wanted is not None:
            close |= {
                "mem_norm": parts.wanted.norm(), "mem_clamped_norm": parts.memory.norm(), "gate": parts.gate,
                "cos": F.cosine_similarity(parts.target, parts.wanted, dim=0),
            }  # fmt: skip
        for measure, got in close.items():
            assert isinstance(got, Tensor)
            atol = 2e-6 if measure == "cos" else 1e-6  # of vectors that all but cancel
            np.testing.assert_allclose(
                got.detach(), expected[measure], 1e-6, atol, err_msg=f"{measure} of {step}"
            )
    np.testing.assert_allclose(value.state.detach(), case["float64_state_last"], 1e-6, 1e-6)
