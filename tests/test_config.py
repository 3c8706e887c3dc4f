"""Configs: what is accepted, what is refused and with which words, and that nothing else ever happens."""

import string
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import perturb
from base.storage import ROOT, UserError
from configs.run import RunConfig
from configs.state import SelfState
from configs.suite import load_suite
from configs.toml_file import ConfigError
from configs.training import Model, Train
from configs.world import RandomWindows

SUITE = ROOT / "configs" / "shakespeare.toml"
NO_SUITES = {"base.toml", "small.toml", "floors_world.toml", "claims.toml"}
SUITES = sorted(path for path in SUITE.parent.glob("*.toml") if path.name not in NO_SUITES)


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
@pytest.mark.parametrize("quick", [False, True])
def test_every_suite_loads(path: Path, quick: bool) -> None:
    suite = load_suite(path, quick=quick)
    assert suite.name == path.stem and suite.conditions


def test_the_model_is_the_seeds() -> None:
    run = load_suite(SUITE).run("self", 3)
    assert run.seed == 3
    assert (run.model.n_layer, run.model.n_head, run.model.n_embd, run.model.block_size) == (4, 4, 128, 64)
    assert (run.train.steps, run.train.batch_size, run.train.learning_rate) == (2000, 12, 1e-3)
    assert perturb.windows(run) == [
        ("lr_heatwave", 300, 350),
        ("sensory_fog", 600, 800),
        ("false_feedback", 900, 1000),
        ("self_clamp", 1100, 1200),
        ("bewilderment", 1200, 1400),
    ]


def test_mechanisms_are_two_sets_of_values() -> None:
    seed = load_suite(SUITE).conditions["self"].self_state
    calibrated = load_suite(SUITE, ["mechanism=calibrated"]).conditions["self"].self_state
    assert (seed.standardise, seed.init, seed.weight_decay) == (False, "small", True)
    assert (calibrated.standardise, calibrated.init, calibrated.weight_decay) == (True, "default", False)
    own = load_suite(SUITE, ["mechanism=calibrated", "self_state.init=small"]).conditions["self"].self_state
    assert own.standardise and own.init == "small"


def test_an_override_acts_on_every_condition_or_on_one() -> None:
    every = load_suite(SUITE, ["train.batch_size=4"])
    assert {run.train.batch_size for run in every.conditions.values()} == {4}
    one = load_suite(SUITE, ["conditions.self.train.batch_size=4"])
    assert one.conditions["self"].train.batch_size == 4 and one.conditions["vanilla"].train.batch_size == 12
    regime = load_suite(SUITE, ["regimes.bewilderment.probability=0.25"])
    assert regime.conditions["self"].regimes.bewilderment.probability == 0.25


OVERLAP = (
    '{kind="windows",windows=[{regime="lr_heatwave",start=1,end=9},{regime="self_clamp",start=8,end=9}]}'
)
REFUSED = {
    "train.stepss=3": "did you mean 'train.steps'",
    "trian.steps=3": "did you mean 'train'",
    "train.steps=3.5": "valid integer",
    "train.steps=true": "valid integer",
    "train.steps='9'": "valid integer",
    "train.steps=0": "greater than or equal to 1",
    "train.beta1=inf": "finite",
    "train.beta1=nan": "finite",
    "regimes.bewilderment.probability=1.5": "less than or equal to 1",
    "model.n_layer=1000000000": "less than or equal to 96",
    "model.n_head=3": "not a multiple",
    "mechanism=calibrate": "did you mean 'calibrated'",
    "conditions.self.schedule=five_window": "did you mean 'five_windows'",
    "conditions.self.schedule.kind=chaos": "does not match",
    f"conditions.self.schedule={OVERLAP}": "windows overlap",
    'conditions.self.schedule={kind="windows",windows=[{regime="self_clamp",start=-1,end=3}]}': "start = -1",
    'conditions.self.schedule={kind="windows",windows=[{regime="self_clamp",start=3,end=3}]}': "not after its start",
    'conditions.self.schedule={kind="windows",windows=[{regime="self_clamp",start=3,end=2001}]}': "beyond the last",
    'conditions.self.schedule={kind="windows",windows=[{regime="fear",start=3,end=4}]}': "bewilderment",
    "schedules.five_random_windows.first=1900": "the run has 2000",
    "log.keep_steps=[3000]": "beyond the last step",
    "probe.frozen.conditions=['self_clam']": "did you mean 'self_calm'",
    "probe.frozen.conditions=['vanilla']": "no self-state to steer",
    "probe.frozen.steps=[7]": "add it to log.keep_steps",
    "probe.frozen.top=17": "at most 16",
    "probe.frozen.tops=3": "did you mean 'top'",
    "probe.frosen.top=3": "did you mean 'frozen'",
    "probe=3": "table",
    "probe.frozen=3": "table",
    "seeds=0": "greater than or equal to 1",
    "conditions=3": "table",
    "conditions.self=3": "table",
    "train": "key=value",
    "a b=3": "key=value",
    "train.steps=[": "not a TOML value",
    "corpus='../secret'": "match pattern",
    "corpus='a\\u0000b'": "match pattern",
    "self_state.memory.kind=perfect": "'none'",
}


@pytest.mark.parametrize("override", REFUSED)
def test_refused_with_one_line_that_helps(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_suite(SUITE, [override])
    assert REFUSED[override] in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("overrides", "guilty"),
    [
        (["train.batch_size=2", "train.stop=9999"], ["train.stop=9999"]),  # beyond the last step
        (["model.n_embd=30", "train.batch_size=2"], ["model.n_embd=30"]),  # no multiple of n_head
        (["probe.frozen.steps=[7]"], ["probe.frozen.steps=[7]"]),  # its weights are not kept
        (["train.min_learning_rate=0.1", "seeds=1"], ["train.min_learning_rate=0.1"]),
    ],
)
@pytest.mark.parametrize("quick", [False, True])
def test_fields_that_do_not_fit_name_the_set_that_is_the_cause(
    overrides: list[str], guilty: list[str], quick: bool
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_suite(SUITE, overrides, quick)
    assert all(f"in --set {text!r}" in str(caught.value) for text in guilty)
    assert ".toml" not in str(caught.value) and "batch_size" not in str(caught.value)


def test_what_is_told_in_steps_moves_with_the_steps() -> None:
    before, after = (load_suite(SUITE, more).conditions for more in ([], ["train.steps=500"]))
    assert after["analysis"].train.model_dump() == before["analysis"].train.model_dump() | {
        "steps": 500, "decay_steps": 1000, "warmup_steps": 50,
    }  # fmt: skip
    ends = {
        name: [window.end for window in of["self"].schedule.windows]  # type: ignore[union-attr]
        for name, of in (("b", before), ("a", after))
    }
    assert ends == {"b": [350, 800, 1000, 1200, 1400], "a": [88, 200, 250, 300, 350]}
    assert load_suite(SUITE, ["train.steps=500"]).probes["frozen"].steps == (500,)
    given = load_suite(
        SUITE, ["train.steps=500", "train.warmup_steps=7", "train.decay_steps=600"]
    ).conditions["analysis"]
    assert (given.train.warmup_steps, given.train.decay_steps) == (7, 600)
    one = load_suite(SUITE, ["conditions.self.train.steps=4000"]).conditions
    assert one["self"].schedule.windows[-1].end == 2800  # type: ignore[union-attr]
    assert one["vanilla"] == before["vanilla"]


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_suite_can_be_made_short(path: Path) -> None:
    assert max(run.train.steps for run in load_suite(path, ["train.steps=120"]).conditions.values()) == 120


def test_fields_that_do_not_fit_name_their_line_where_no_set_is_the_cause(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_bytes((SUITE.parent / "base.toml").read_bytes())
    text = "extends = 'base.toml'\nname = 'x'\nseeds = 1\n[conditions.a]\n[model]\nn_embd = 30\n"
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"not a multiple.*x\.toml, line") as caught:
        load_suite(tmp_path / "x.toml", ["train.batch_size=2"])
    assert "--set" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "extends = 'base.toml'\nname = 'x'\nseeds = 1\n[conditions.a]\n[model]\nn_layer = 'two'\n",
            "line 6",
        ),
        ("extends = 'base.toml'\nname = 'x'\nseeds = 1\n[conditions.a]\nmodle.n_layer = 2\n", "line 5"),
        ("extends = 'base.toml'\nname = 'x'\nseeds = 1\n", "conditions"),
        ("name = ", "not valid TOML"),
        ("extends = 'self.toml'", "extends itself"),
        ("extends = 'nowhere.toml'", "does not exist"),
        ("extends = 3", "name of a file"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "base.toml").write_text((SUITE.parent / "base.toml").read_text())
    path = tmp_path / "self.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_suite(path)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_suite(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_suite(tmp_path / "bytes.toml")
    with pytest.raises(ConfigError, match="can't be read"):
        load_suite(tmp_path)


def test_unknown_condition_and_seed() -> None:
    suite = load_suite(SUITE)
    with pytest.raises(ConfigError, match="did you mean 'self_calm'"):
        suite.run("self_clam", 1)
    with pytest.raises(ConfigError, match="numbered from 1"):
        suite.run("self", 0)


FIELDS = [
    f"{table}.{name}"
    for table, model in (("model", Model), ("train", Train), ("self_state", SelfState))
    for name in model.model_fields
]
VALUES = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.booleans().map(lambda value: str(value).lower()),
    st.sampled_from(["inf", "nan", "[]", "{}", "''", "1979-05-27", "mlp", "auto", "[[1]]"]),
    st.text(string.printable, max_size=20),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FIELDS), VALUES)
@example("train.batch_size", "65536")  # more than most machines' memory holds
def test_any_value_is_taken_or_refused_in_one_line(field: str, value: str) -> None:
    try:
        suite = load_suite(SUITE, [f"{field}={value}"])
    except UserError as error:
        assert str(error) and "\n" not in str(error)
    else:
        run = suite.run("self", 1)
        assert RunConfig.model_validate_json(run.model_dump_json()) == run


@settings(max_examples=50, deadline=None)
@given(
    durations=st.dictionaries(
        st.sampled_from(["bewilderment", "self_clamp", "sensory_fog"]), st.integers(1, 30)
    ),
    first=st.integers(0, 50),
    washout=st.integers(0, 10),
    seed=st.integers(1, 2**40),
)
def test_random_windows_lie_inside_the_run(durations: dict, first: int, washout: int, seed: int) -> None:
    if not durations:
        return
    run = load_suite(SUITE).run("self_random", seed)
    schedule = RandomWindows(kind="random_windows", durations=durations, first=first, washout=washout)
    run = run.model_copy(update={"schedule": schedule})
    names = perturb.regimes_by_step(run)
    assert len(names) == run.train.steps
    assert names[:first] == [perturb.CALM] * first
    assert {name: names.count(name) for name in durations} == durations


def test_a_byte_order_mark_is_no_part_of_a_config(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_bytes((SUITE.parent / "base.toml").read_bytes())
    text = 'extends = "base.toml"\nname = "own"\nseeds = 1\n[conditions.self]\n'
    (tmp_path / "own.toml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert [*load_suite(tmp_path / "own.toml").conditions] == ["self"]
