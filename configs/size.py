"""What a run takes, told from the config before anything is made: weights, work, memory, disk.

Sizes are in bytes and about right, from above, unless they say that they are exact. `vocabulary` is the number of tokens
without the mask token; where a corpus is not read yet, `tokens_of` it.
"""

from base import machine
from configs.row_kinds import ASKED
from configs.run import RunConfig
from configs.state import STATS
from configs.suite import Suite

DROPOUT = 1.5  # a training step with dropout, against one without
LOG_BYTES = 200.0  # of a step's row in metrics.csv


def tokens_of(run: RunConfig) -> int:
    """How many tokens a run knows, without the mask token; of characters a guess, since only the text says how many it has."""
    if run.process is not None:
        return run.process.vocabulary
    kind, _, size = run.tokenizer.partition(":")
    return int(size) if size else {"char": 256, "gpt2": 50_257}[kind]


def weights(run: RunConfig, vocabulary: int) -> int:
    """Parameters of a run's modules: the GPT, the channels, and the self-state or the constant bias. Exact."""
    model, state = run.model, run.self_state
    width = model.n_embd
    block = 12 * width**2 + 2 * width + 11 * width * model.bias
    found = (vocabulary + 1 + model.block_size) * width + model.n_layer * block + width * (1 + model.bias)
    if run.channels is not None:
        found += gated(run)
    if state.enabled:
        memory, read = 0, len(STATS)
        if state.memory.kind != "none":
            read += 2 + state.memory.features
            projection = state.dim**2 if state.memory.projection else 0
            memory = state.memory.features * state.dim + projection + state.hidden + 1
        network = {
            "mlp": state.hidden * (read + 1) + state.dim * (state.hidden + 1),
            "linear": state.dim * (len(STATS) + 1),
            "gru": 3 * state.dim * (len(STATS) + state.dim + 2),
        }[state.update]
        return found + network + memory + state.dim * width
    return found + width * run.injects


def gated(run: RunConfig) -> int:
    """Parameters of a run's channels."""
    given, width = run.channels, run.model.n_embd
    assert given is not None
    sizes = given.dimensions(run.self_state.dim)
    layers = 1 if given.layers == "first" or given.how == "prefix" else run.model.n_layer
    asked = ASKED * (width + sum(sizes.values()) + len(sizes)) if given.how == "attention" else 0
    constant = sum(sizes.values()) if given.given == "constant" else 0
    return layers * (len(sizes) + width * sum(sizes.values()) + asked) + constant


def effort(run: RunConfig) -> float:
    """What the training of a run takes beside others', in GFLOP that time is told by."""
    return (run.last - run.first) * step_gflop(run) * (DROPOUT if run.model.dropout else 1)


def step_gflop(run: RunConfig) -> float:
    """Floating-point operations of one training step, in units of 1e9: six a weight and token."""
    tokens = run.train.batch_size * run.train.grad_accum * run.model.block_size
    return 6e-9 * tokens * weights(run, tokens_of(run))


def memory_parts(run: RunConfig) -> dict[str, float]:
    """While it trains, in float32: weights, gradients, two moments of each, activations of a micro-batch; and the rest, which is
    a copy of the weights, what is drawn for a step, what is kept of each, and the program."""
    model, train = run.model, run.train
    vocabulary = tokens_of(run)
    each = 4.0 * weights(run, vocabulary)
    layer = 34 * model.n_embd + 4 * model.n_head * model.block_size  # floats of a token in a block
    batch = train.batch_size * model.block_size
    probe = run.log.probe_sequences * model.block_size if run.injects else 0
    activations = 4.0 * batch * (model.n_layer * layer + 4 * vocabulary)
    activations += 4.0 * probe * (layer + 8 * vocabulary)
    drawn = 24.0 * batch * train.grad_accum
    return {
        "weights": each,
        "gradients": each,
        "optimizer": 2 * each,
        "activations": activations,
        "the rest": each + drawn + _kept(run) + machine.PROGRAM,
    }


def memory(run: RunConfig) -> float:
    """While it trains, all of it, and of those in one stack with it."""
    own = sum(memory_parts(run).values()) - machine.PROGRAM
    return own * (run.train.stack if run.stacks_as else 1) + machine.PROGRAM


def _kept(run: RunConfig) -> float:
    """The log and the states of all steps, and a memory with its next value."""
    steps, state = run.last - run.first, run.self_state
    found = 2000.0 * steps
    if state.enabled:
        found += steps * (8.0 * state.dim + 200)
        if state.memory.kind == "buffer":
            found += 16.0 * state.memory.length * state.dim
    return found


def disk(run: RunConfig, vocabulary: int) -> float:
    """The run folder: log, states, weights of the last step and of others, whole checkpoints."""
    kept = 1 + len(run.log.keep_steps) + 3 * len(run.log.keep_checkpoints)
    return 4.0 * weights(run, vocabulary) * kept + _log_and_states(run)


def disk_on_the_way(run: RunConfig, vocabulary: int, checkpoints: int) -> float:
    """What a run needs besides while it trains: so many checkpoints and the next, and all it keeps, twice."""
    checkpoint = 12.0 * weights(run, vocabulary) + _log_and_states(run)  # with two moments of each weight
    return (checkpoints + 1) * checkpoint + disk(run, vocabulary)


def _log_and_states(run: RunConfig) -> float:
    states = 4.0 * run.self_state.dim if run.self_state.enabled else 0.0
    return (run.last - run.first) * (LOG_BYTES + states)


def check(suite: Suite) -> None:
    """UserError where a run of a suite needs more memory than the machine has."""
    for name, run in suite.conditions.items():
        machine.check(
            memory(run),
            f"{suite.path}: a run of {name} needs",
            "use a smaller model, batch or number of steps",
        )


def costs(suite: Suite) -> list[str]:
    """What the runs of a suite take, a line for all conditions of which it is the same, then their work together."""
    lines: dict[str, list[str]] = {}
    total = 0.0
    for name, run in suite.conditions.items():
        work = (run.last - run.first) * step_gflop(run)
        total += work * suite.seeds
        parts = ", ".join(f"{part} {taken / 1e9:.2f}" for part, taken in memory_parts(run).items())
        told = (
            f"{weights(run, tokens_of(run)):,} parameters; a worker takes {memory(run) / 1e9:.2f} GB: {parts}; "
            f"{step_gflop(run):,.0f} GFLOP a step, {work:,.0f} a run"
        )
        lines.setdefault(told, []).append(name)
    runs = suite.seeds * len(suite.conditions)
    found = [f"{', '.join(names)}: {told}" for told, names in lines.items()]
    return [*found, f"{suite.name}: {runs} {'run' if runs == 1 else 'runs'}, {total:,.0f} GFLOP in all"]
