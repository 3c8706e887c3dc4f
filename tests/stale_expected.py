"""A small study, and what hangs on each config field in it, said a second time: for test_stale.py and the stress."""

SUITE = """
name = "tiny"
seeds = 1
corpus = "tiny_text"
model = { n_layer = 1, n_head = 2, n_embd = 16, block_size = 8 }
train = { steps = 30, batch_size = 2, warmup_steps = 1 }
log = { effect_interval = 5, probe_sequences = 2, eval_interval = 10, eval_batches = 1, keep_steps = [10] }
self_state = { dim = 4, hidden = 4 }
regimes.bewilderment.probability = 0.5
[schedules.one]
kind = "windows"
windows = [{ regime = "bewilderment", start = 10, end = 20 }]
[schedules.feedback]
kind = "windows"
windows = [{ regime = "false_feedback", start = 10, end = 20 }]
[schedules.heatwave]
kind = "windows"
windows = [{ regime = "lr_heatwave", start = 10, end = 20 }]
[conditions.self]
schedule = "one"
log.keep_checkpoints = [10, 20]
[conditions.vanilla]
schedule = "one"
self_state.enabled = false
[conditions.ema]
self_state.memory = { kind = "ema" }
[conditions.buffer]
self_state.memory = { kind = "buffer", length = 4, stride = 2 }
schedule = { kind = "random_windows", durations = { self_clamp = 10 }, first = 2, washout = 1 }
[conditions.fixed]
self_state.enabled = false
constant_bias = { kind = "fixed", norm_of = "self" }
schedule = { kind = "recurring", regimes = ["sensory_fog"], enter = 0.2, leave = 0.2, first = 2 }
[conditions.learned]
self_state.enabled = false
constant_bias = { kind = "learned" }
schedule = "heatwave"
[conditions.goes_on]
start = { condition = "self", step = 10, state = "other" }
[conditions.heard]
self_state.senses = { kind = "recorded", condition = "self", seed = "partner" }
[conditions.matched]
match_norm_of = "self"
schedule = "feedback"
[conditions.stays]
self_state.first = { kind = "random", norm_of = "self" }
[conditions.elsewhere]
corpus = "tiny_other"
[processes.chain]
kind = "chain"
tokens = 4
[processes.flips]
kind = "hidden"
transitions = [[[0.5, 0.0], [0.0, 0.5]], [[0.0, 0.5], [0.5, 0.0]]]
[conditions.drawn]
corpus = "chain"
self_state.enabled = false
[conditions.flips]
corpus = "flips"
self_state.enabled = false
[processes.rows]
kind = "rows"
[processes.slots]
kind = "rows"
slots = true
[conditions.told]
corpus = "rows"
channels = {}
model.block_size = 44
self_state.enabled = false
[conditions.slots]
corpus = "slots"
channels = {}
model.block_size = 44
self_state.enabled = false
[probe.frozen]
conditions = ["self"]
steps = [10]
finder_batches = 1
dev_batches = 1
heldout_batches = 1
top = 1
doses = 2
random_directions = 2
placebo_draws = 2
[probe.belief]
conditions = ["self"]
[signatures]
pre_steps = 20
permutations = 3
classify_steps = 4
"""

# The study's parts, and what hangs on each

STUDIED = ("frozen", "belief")  # the probes in it
SELF, PARTNER = "train tiny/self/seed-1", "train tiny/self/seed-2"
FROZEN, BELIEF = "frozen tiny/self/seed-1/step-10", "belief tiny/self/seed-1/step-30"
TABLES = {"tables tiny"}  # all of them
CONDITIONS = (
    "self",
    "vanilla",
    "ema",
    "buffer",
    "fixed",
    "learned",
    "goes_on",
    "heard",
    "matched",
    "stays",
    "elsewhere",
    "drawn",
    "flips",
    "told",
    "slots",
)
HANGS_ON = {
    SELF: {
        "train tiny/fixed/seed-1",
        "train tiny/matched/seed-1",
        "train tiny/stays/seed-1",
        "train tiny/goes_on/seed-1",
        FROZEN,
        BELIEF,
    },
    PARTNER: {"train tiny/goes_on/seed-1", "train tiny/heard/seed-1", BELIEF},
}


def runs(*conditions: str) -> set[str]:
    """The runs of some conditions: `self` has one more, of the partner seed."""
    found = {f"train tiny/{name}/seed-1" for name in conditions}
    return found | {PARTNER} if "self" in conditions else found


def with_dependants(changed: set[str]) -> set[str]:
    """Some steps and what waits for them; all tables wait for all."""
    found = set(changed)
    for name in changed:
        found |= HANGS_ON.get(name, set())
    return found | TABLES if found else found


EVERY = runs(*CONDITIONS)
GENERATED = ("drawn", "flips", "told", "slots")  # of processes, which no text changes
BARE = ("vanilla", *GENERATED)
VANILLA = runs(*BARE)
STATE = runs(*({*CONDITIONS} - {*BARE, "fixed", "learned"}))


# Config fields


def of(condition: str, setting: str) -> tuple[str, set[str]]:
    return f"conditions.{condition}.{setting}", with_dependants(runs(condition))


def everywhere(setting: str, changed: set[str] = EVERY) -> tuple[str, set[str]]:
    return setting, with_dependants(changed)


def window(regime: str, start: int, end: int) -> str:
    return f"schedules.one.windows=[{{regime='{regime}', start={start}, end={end}}}]"


WINDOWED = runs("self", "vanilla")
TESTED = {FROZEN} | TABLES
FIELDS: dict[str, tuple[str, set[str]]] = {
    "RunConfig.corpus": of("vanilla", "corpus=tiny_other"),
    "RunConfig.tokenizer": of("vanilla", "tokenizer='bpe:260'"),
    "RunConfig.inject_until": of("elsewhere", "inject_until=20"),
    "Chain.tokens": everywhere("processes.chain.tokens=5", runs("drawn")),
    "Chain.order": everywhere("processes.chain.order=2", runs("drawn")),
    "Chain.concentration": everywhere("processes.chain.concentration=0.5", runs("drawn")),
    "Chain.uniform": everywhere("processes.chain.uniform=0.1", runs("drawn")),
    "Hidden.transitions": everywhere("processes.flips.transitions=[[[0.4, 0.0], [0.0, 0.4]], [[0.0, 0.6], [0.6, 0.0]]]", runs("flips")),
    "RunConfig.channels": of("told", "channels={how='attention'}"),
    "Channels.names": of("told", "channels.names=['time']"),
    "Channels.how": of("slots", "channels.how=prefix"),
    "Channels.layers": of("told", "channels.layers=first"),
    "Channels.given": of("told", "channels.given=shuffled"),
    **{
        f"Rows.{name}": everywhere(f"processes.rows.{name}={value}", runs("told"))
        for name, value in (
            ("channel", 0.3), ("both", 0.1), ("text", 0.2), ("channel_right", 0.9), ("text_right", 0.9), ("noise", 0.1),
            ("cropped", 0.2), ("slots", "true"),
        )
    },
    "RunConfig.model": of("elsewhere", "model.n_embd=32"),
    "RunConfig.train": of("elsewhere", "train.beta1=0.8"),
    "RunConfig.log": of("elsewhere", "log.eval_interval=5"),
    "RunConfig.self_state": of("elsewhere", "self_state.dim=5"),
    "RunConfig.constant_bias": of("vanilla", "constant_bias={kind='learned'}"),
    "RunConfig.start": ("conditions.new.start={condition='self', step=10}", runs("new") | TABLES),
    "RunConfig.schedule": of("elsewhere", "schedule=one"),
    "RunConfig.regimes": of("self", "regimes.bewilderment.probability=0.4"),
    "Model.n_layer": everywhere("model.n_layer=2"),
    "Model.n_head": everywhere("model.n_head=4"),
    "Model.n_embd": everywhere("model.n_embd=32"),
    "Model.block_size": everywhere("model.block_size=45"),
    "Model.dropout": everywhere("model.dropout=0.1"),
    "Model.bias": everywhere("model.bias=true"),
    "Model.gelu": everywhere("model.gelu=tanh"),
    "Train.steps": (
        "train.steps=31", with_dependants(EVERY) - {BELIEF} | {BELIEF.replace("step-30", "step-31")}
    ),
    "Train.decay_steps": everywhere("train.decay_steps=20"),
    "Train.stop": of("elsewhere", "train.stop=29"),
    "Train.batch_size": everywhere("train.batch_size=3"),
    "Train.grad_accum": everywhere("train.grad_accum=2"),
    "Train.ranks": everywhere("train.ranks=2"),
    "Train.device": everywhere("train.device=cuda"),
    "Train.stack": everywhere("train.stack=2"),
    "Train.compile": everywhere("train.compile=true"),
    "Train.learning_rate": everywhere("train.learning_rate=0.002"),
    "Train.min_learning_rate": everywhere("train.min_learning_rate=0.0002"),
    "Train.warmup_steps": everywhere("train.warmup_steps=2"),
    "Train.beta1": everywhere("train.beta1=0.8"),
    "Train.beta2": everywhere("train.beta2=0.98"),
    "Train.weight_decay": everywhere("train.weight_decay=0.2"),
    "Train.grad_clip": everywhere("train.grad_clip=0.5"),
    "Train.dtype": everywhere("train.dtype=float32"),
    "Log.effect_interval": everywhere("log.effect_interval=6", EVERY - VANILLA),
    "Log.probe_sequences": everywhere("log.probe_sequences=3", EVERY - VANILLA),
    "Log.eval_interval": everywhere("log.eval_interval=5"),
    "Log.eval_batches": everywhere("log.eval_batches=2"),
    "Log.checkpoint_interval": everywhere("log.checkpoint_interval=7"),
    "Log.keep_steps": everywhere("log.keep_steps=[10, 20]"),
    "Log.keep_checkpoints": of("vanilla", "log.keep_checkpoints=[5]"),
    "SelfState.enabled": of("ema", "self_state.enabled=false"),
    "SelfState.dim": everywhere("self_state.dim=5", STATE),
    "SelfState.decay": everywhere("self_state.decay=0.3", STATE),
    "SelfState.senses": of("elsewhere", "self_state.senses={kind='clock'}"),
    "SelfState.update": of("elsewhere", "self_state.update=gru"),
    "SelfState.activation": everywhere("self_state.activation=tanh", STATE),
    "SelfState.first": of("elsewhere", "self_state.first={kind='random', norm_of='ema'}"),
    "SelfState.hidden": everywhere("self_state.hidden=5", STATE),
    "SelfState.standardise": everywhere("self_state.standardise=true", STATE),
    "SelfState.stat_momentum": everywhere("self_state.stat_momentum=0.9", STATE),
    "SelfState.stat_clip": everywhere("self_state.stat_clip=3.0", STATE),
    "SelfState.init": everywhere("self_state.init=default", STATE),
    "SelfState.weight_decay": everywhere("self_state.weight_decay=false", STATE),
    "RunConfig.match_norm_of": of("matched", "match_norm_of=ema"),
    "SelfState.memory": of("elsewhere", "self_state.memory={kind='ema'}"),
    "RandomStart.norm_of": of("stays", "self_state.first.norm_of=ema"),
    "RandomStart.factor": of("stays", "self_state.first.factor=2.0"),
    "EmaMemory.decay": of("ema", "self_state.memory.decay=0.2"),
    "EmaMemory.limit": of("ema", "self_state.memory.limit=2.0"),
    "EmaMemory.scale": of("ema", "self_state.memory.scale=2.0"),
    "EmaMemory.features": of("ema", "self_state.memory.features=2"),
    "EmaMemory.projection": of("ema", "self_state.memory.projection=true"),
    "BufferMemory.length": of("buffer", "self_state.memory.length=5"),
    "BufferMemory.stride": of("buffer", "self_state.memory.stride=3"),
    "BufferMemory.limit": of("buffer", "self_state.memory.limit=2.0"),
    "BufferMemory.scale": of("buffer", "self_state.memory.scale=2.0"),
    "BufferMemory.features": of("buffer", "self_state.memory.features=2"),
    "BufferMemory.projection": of("buffer", "self_state.memory.projection=true"),
    "OwnStats.age": of("elsewhere", "self_state.senses={kind='own', age=2}"),
    "OwnStats.positions": of("elsewhere", "self_state.senses={kind='own', positions='last'}"),
    "OwnStats.tokens": of("elsewhere", "self_state.senses={kind='own', tokens=3}"),
    "OwnStats.from_zero": of("elsewhere", "self_state.senses={kind='own', from_zero=true}"),
    "RecordedStats.condition": (
        "conditions.heard.self_state.senses.condition=vanilla",
        {"train tiny/heard/seed-1", "train tiny/vanilla/seed-2"} | TABLES,
    ),
    "RecordedStats.seed": of("heard", "self_state.senses.seed=own"),
    "RecordedStats.shuffled": of("heard", "self_state.senses.shuffled=true"),
    "FixedBias.norm_of": of("fixed", "constant_bias.norm_of=ema"),
    "FixedBias.factor": of("fixed", "constant_bias.factor=2.0"),
    "Start.condition": of("goes_on", "start={condition='self', step=10, state='own'}"),
    "Start.step": of("goes_on", "start.step=20"),
    "Start.state": of("goes_on", "start.state=zero"),
    "Windows.windows": (window("bewilderment", 11, 20), with_dependants(WINDOWED)),
    "Window.regime": (window("sensory_fog", 10, 20), with_dependants(WINDOWED)),
    "Window.start": (window("bewilderment", 9, 20), with_dependants(WINDOWED)),
    "Window.end": (window("bewilderment", 10, 21), with_dependants(WINDOWED)),
    "RandomWindows.durations": of("buffer", "schedule.durations.self_clamp=11"),
    "RandomWindows.first": of("buffer", "schedule.first=3"),
    "RandomWindows.washout": of("buffer", "schedule.washout=2"),
    "Recurring.regimes": of("fixed", "schedule.regimes=['sensory_fog', 'bewilderment']"),
    "Recurring.enter": of("fixed", "schedule.enter=0.3"),
    "Recurring.leave": of("fixed", "schedule.leave=0.3"),
    "Recurring.first": of("fixed", "schedule.first=3"),
    "Regimes.bewilderment": everywhere("regimes.bewilderment={probability=0.4}", WINDOWED),
    "Regimes.sensory_fog": everywhere("regimes.sensory_fog={probability=0.4}", runs("fixed")),
    "Regimes.false_feedback": everywhere("regimes.false_feedback={loss=0.4}", runs("matched")),
    "Regimes.self_clamp": everywhere("regimes.self_clamp={mode='noise'}", runs("buffer")),
    "Regimes.lr_heatwave": everywhere("regimes.lr_heatwave={factor=3.0}", runs("learned")),
    "Bewilderment.probability": everywhere("regimes.bewilderment.probability=0.4", WINDOWED),
    "SensoryFog.token": everywhere("regimes.sensory_fog.token=first", runs("fixed")),
    "SensoryFog.probability": everywhere("regimes.sensory_fog.probability=0.4", runs("fixed")),
    "LrHeatwave.factor": everywhere("regimes.lr_heatwave.factor=3.0", runs("learned")),
    **{
        f"FalseFeedback.{name}": everywhere(f"regimes.false_feedback.{name}=0.3", runs("matched"))
        for name in ("loss", "entropy", "top1", "grad_norm", "progress")
    },
    "SelfClamp.mode": everywhere("regimes.self_clamp.mode=clamp", runs("buffer")),
    **{
        f"SelfClamp.{name}": everywhere(f"regimes.self_clamp.{name}=0.7", runs("buffer"))
        for name in ("limit", "std", "factor")
    },
    "Suite.name": ("name=other", set()),  # what it is depends on is renamed, see the test
    "Suite.seeds": ("seeds=2", set()),  # see the test
    "Suite.conditions": ("conditions.new.train.beta1=0.7", runs("new") | TABLES),
    "Suite.probes": ("probe.frozen.doses=3", TESTED),
    "Suite.signatures": ("signatures.permutations=4", TABLES),
    "FrozenTest.conditions": ("probe.frozen.conditions=[]", TABLES),
    "FrozenTest.steps": ("probe.frozen.steps=[10, 30]", {FROZEN.replace("step-10", "step-30")} | TABLES),
    **{
        f"FrozenTest.{name}": (f"probe.frozen.{name}=3", TESTED)
        for name in ("replication_batches", "other_sets", "replication_sequences", "finder_batches", "dev_batches", "doses", "random_directions", "placebo_draws")
    },
    "FrozenTest.dose_placebos": ("probe.frozen.dose_placebos=2", TESTED),
    "FrozenTest.top": ("probe.frozen.top=2", TESTED),
    "FrozenTest.heldout_batches": ("probe.frozen.heldout_batches=2", TESTED),
    "FrozenTest.magnitude": ("probe.frozen.magnitude=0.4", TESTED),
    "FrozenTest.foreign": ("probe.frozen.foreign=true", TESTED),
    "BeliefTest.conditions": ("probe.belief.conditions=[]", TABLES),
    "BeliefTest.steps": ("probe.belief.steps=[10]", {BELIEF.replace("step-30", "step-10")} | TABLES),
    "BeliefTest.heldout_batches": ("probe.belief.heldout_batches=2", {BELIEF} | TABLES),
    "Signatures.pre_steps": ("signatures.pre_steps=21", TABLES),
    "Signatures.classify_steps": ("signatures.classify_steps=5", TABLES),
    "Signatures.permutations": ("signatures.permutations=4", TABLES),
}  # fmt: skip
NOT_SET = {  # fields that no config file can set, or not alone
    "RunConfig.seed": "the study numbers its seeds",
    "RunConfig.process": "what [processes] has under the corpus's name",
    "Model.weights": "its file decides, not its name: tests/test_foreign.py",
    "Suite.path": "the file itself",
    "Suite.quick": "the option --quick",
}
