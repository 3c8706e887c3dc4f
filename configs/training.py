"""The fields of the GPT, of its training, and of what is logged of it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from configs.fields import Magnitude, Positive, Strict


class Model(Strict):
    """The GPT, as nanoGPT builds it."""

    n_layer: int = Field(default=4, ge=1, le=96)
    """blocks of attention and MLP"""
    n_head: int = Field(default=4, ge=1, le=128)
    """attention heads a block; they share n_embd out"""
    n_embd: int = Field(default=128, ge=1, le=8192)
    """width of the embeddings and of every block"""
    block_size: int = Field(default=64, ge=2, le=8192)
    """tokens a sequence"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """share of numbers set to zero while it trains"""
    bias: bool = False
    """biases in the linear and norm layers"""
    gelu: Literal["exact", "tanh"] = "exact"
    """of the MLPs; tanh: GPT-2's approximation"""
    weights: str | None = Field(default=None, min_length=1, max_length=4000)
    """a file of GPT-2's weights to begin with, see runs/foreign.py; None: drawn from the seed"""

    @model_validator(mode="after")
    def _as_the_weights_were_trained(self) -> Self:
        if self.weights is not None and (not self.bias or self.gelu != "tanh"):
            raise ValueError('model.weights are GPT-2\'s: set model.bias = true and model.gelu = "tanh"')
        return self

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd = {self.n_embd} is not a multiple of n_head = {self.n_head}; change one of them"
            )
        return self


class Train(Strict):
    """Optimisation: AdamW, linear warm-up, cosine decay to `min_learning_rate`."""

    steps: int = Field(default=2000, ge=1, le=10_000_000)
    """of the whole schedule; windows, warm-up and what else is told in steps moves with them"""
    decay_steps: int | None = Field(default=None, ge=1)
    """at which the learning rate is lowest; None: steps"""
    stop: int | None = Field(default=None, ge=1)
    """end after so many steps of a schedule of `steps`; None: all"""
    batch_size: int = Field(default=12, ge=1, le=65536)
    """sequences a micro-batch"""
    grad_accum: int = Field(default=1, ge=1, le=4096)
    """micro-batches a step"""
    ranks: int = Field(default=1, ge=1, le=4096)
    """processes that share the sequences of a step evenly; torchrun sets it, see runs/ranks.py"""
    learning_rate: Positive = 1e-3
    """the largest rate, at the end of the warm-up"""
    min_learning_rate: Magnitude = 1e-4
    """the rate at the end of its decay"""
    warmup_steps: int = Field(default=100, ge=0)
    """steps over which the rate rises from near zero"""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """momentum of gradients in AdamW"""
    beta2: float = Field(default=0.99, ge=0, lt=1)
    """momentum of squared gradients in AdamW"""
    weight_decay: Magnitude = 0.1
    """of matrices and embeddings of the GPT"""
    grad_clip: Magnitude = 1.0
    """largest total gradient norm; 0: no clipping"""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: the faster one of the two, see runs/number_type.py"""
    device: Literal["cpu", "cuda"] = "cpu"
    """where the GPT is trained"""
    stack: int = Field(default=1, ge=1, le=1024)
    """runs of one shape that are trained at once, see runs/passes.py"""
    compile: bool = False
    """the GPT's forward and backward by torch.compile: half a minute or more at first, faster then"""

    @model_validator(mode="after")
    def _even_shares(self) -> Self:
        sequences = self.batch_size * self.grad_accum
        if sequences % self.ranks:
            raise ValueError(
                f"train.batch_size * train.grad_accum = {sequences} sequences a step can't be shared evenly by "
                f"train.ranks = {self.ranks} processes; change one of them"
            )
        return self

    @model_validator(mode="after")
    def _rates_in_order(self) -> Self:
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(
                f"min_learning_rate = {self.min_learning_rate} exceeds learning_rate = {self.learning_rate}"
            )
        return self


class Log(Strict):
    """What is measured beside the training loss, and what is kept. Intervals in steps."""

    effect_interval: int = Field(default=10, ge=1)
    """steps between two measures of what the state does to predictions: state_effect and its KL"""
    probe_sequences: int = Field(default=4, ge=1, le=4096)
    """sequences of the held-out batch that these are measured on"""
    eval_interval: int = Field(default=250, ge=1)
    """steps between two measures of the held-out loss"""
    eval_batches: int = Field(default=20, ge=1, le=100_000)
    """held-out batches an evaluation, always the same"""
    checkpoint_interval: int = Field(default=250, ge=1)
    """steps between two checkpoints, where an interrupted run goes on from"""
    keep_steps: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """weights kept after so many steps, beside the last"""
    keep_checkpoints: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """all that a run needs to go on from after so many steps, for runs that start there"""
