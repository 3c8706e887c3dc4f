"""The file of claims: what it refuses, and what marks an edit."""

import json
from pathlib import Path

import numpy as np
import pytest

from base.storage import UserError
from configs.toml_file import ConfigError
from experiments.claims import file, page
from experiments.claims.file import ADDED, CHANGED, REMOVED, SEEN, load, register
from experiments.claims.judge import judged
from experiments.kit.stats import sign_flip
from experiments.kit.tables import Tables
from tests.few_claims import FEW, READ, file_of, many, study


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("smallest = 0.02", "smalest = 0.02", r"unknown key '.*smalest' in .*, line 36; did you mean '.*smallest'"),
        ('{ suite = "s", table = "losses", column = "loss"', '{ suit = "s", table = "losses", column = "loss"',
         r"unknown key '.*suit' in .*line 32; did you mean '.*suite'"),
        ("smallest = 0.02", "smallest = 0", r"smallest = 0 in .*line 36: input should be greater than 0"),
        ("smallest = 0.02", 'smallest = "small"', r"smallest = 'small' in .*line 36"),
        ('direction = "less"', 'direction = "lower"', r"direction = 'lower' in .*line 35"),
        ('test = "sign_flip"', 'test = "z"', r"test = 'z' in .*line 38"),
        ('why = "One per cent."\n', "", r"why is missing in .*line 26; give it a value"),
        ('family = "primary"\nunit = "nats"\nendpoint = { suite = "s", table = "losses"',
         'family = "primry"\nunit = "nats"\nendpoint = { suite = "s", table = "losses"',
         r"unknown family 'primry' in .*line 30; did you mean 'primary'"),
        ('said = "random ones don\'t"\n', "", r"a published claim needs `said`.*line 10"),
        ('placebo = { where = { reader = ["rotated", "untrained"] }, by = "reader" }\n', "", r"placebo go together"),
        ('test = "sign_flip"', 'test = "binomial"', r"of withdrawn claims alone"),
        ('column = "loss", where', 'column = "loss", missing = 9.0, where', r"of withdrawn claims alone"),
        ('{ condition = "self" } }\nminus = { where = { condition = "vanilla" } }\nbeside', '{ condition = {} } }\nbeside',
         r"endpoint.where.condition.* = {} in .*line 32"),
        ("[registration]", "[registraton]", r"unknown key 'registraton' in .*line 1; did you mean 'registration'"),
        ('[families.primary]\ntitle = "Primary"\nasks = "Does it?"\n', "", r"families is missing in .*give it a value"),
        ('seen = ["old"]', "seen = 3", r"seen = 3 in .*line 3"),
        ("[claims.beats]", "[claims.beats", r"is not valid TOML"),
        ("[readings.gains]", "[readings.gain]", r"unknown claim 'gain' in .*line 53; did you mean 'gains'"),
        ("label = ", "labl = ", r"unknown key '.*beside.0.labl' in .*line 55; did you mean '.*label'"),
    ],
)  # fmt: skip
def test_a_bad_entry_is_refused_in_one_clear_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(file_of(tmp_path, (old, new), text=FEW + READ))
    assert "\n" not in str(caught.value) and "claims.toml" in str(caught.value)


def test_a_family_that_the_seeds_could_never_decide_is_refused(tmp_path: Path) -> None:
    found = load(file_of(tmp_path, text=many(12))).of("rest")  # 12 / 256 < 0.05
    assert len(found) == 12 and found["gains_0"].smallest_p(8) == sign_flip(np.arange(1.0, 9.0))
    for text, message in (
        (many(13), r"families.rest has 13 claims: 8 seeds could never .* at most 12"),
        (many(7, "different"), r"at most 6"),
        (many(8).replace('"rest"', '"primary"'), r"families.primary has 11 claims; at most 10"),
    ):
        with pytest.raises(ConfigError, match=message):
            load(file_of(tmp_path, text=text))


def test_an_edited_added_or_removed_claim_is_marked_for_ever(tmp_path: Path) -> None:
    known, nowhere, tables = tmp_path / "claims.json", tmp_path / "nowhere", tmp_path / "t"
    study(tables)
    edit = ("smallest = 0.02", "smallest = 0.03")

    def changed(path: Path) -> dict[str, str]:
        found = judged(load(path), file.read_register(known), Tables(tables, "claims"))["claims"]
        return dict(zip(found["id"], found["changed"], strict=True))

    register(nowhere, known, "2026-01-01", "aaa", file_of(tmp_path))  # before any result
    register(
        nowhere, known, "2026-01-02", "bbb", file_of(tmp_path, edit)
    )  # an edit before any result is none
    register(tables, known, "2026-01-03", "ccc", file_of(tmp_path, edit))  # results exist
    assert set(changed(file_of(tmp_path, edit)).values()) == {""}
    assert json.loads(known.read_text())["results"]["s"] == {"date": "2026-01-03", "commit": "ccc"}
    for again in (
        ("smallest = 0.03", "smallest = 0.01"), ('"vanilla"', '"bias"'), ("It gains.", "It gains much."),
        ('suite = "s", table = "losses", column = "loss"', 'suite = "other", table = "losses", column = "loss"'),
    ):  # fmt: skip
        edited = file_of(tmp_path, edit, again)
        assert changed(edited) == {"beats": "", "gains": CHANGED, "slower": ""}, again
        register(tables, known, "2026-01-04", "ddd", edited)  # registering again hides nothing
        assert changed(edited)["gains"] == CHANGED
    path = file_of(tmp_path, edit)
    assert set(changed(path).values()) == {""}
    block = FEW[FEW.index("[claims.gains]") : FEW.index("[claims.slower]")].replace("0.02", "0.03")
    path = file_of(tmp_path, text=path.read_text() + "\n" + block.replace("claims.gains", "claims.more"))
    assert changed(path)["more"] == ADDED
    register(tables, known, "2026-01-05", "eee", path)
    assert changed(path)["more"] == ADDED and changed(path)["gains"] == ""
    path = file_of(tmp_path, text=path.read_text().replace(block, ""))
    assert changed(path)["gains"] == REMOVED
    seen = file_of(tmp_path, ('seen = ["old"]', 'seen = ["s"]'), edit)
    assert changed(seen) == {"beats": SEEN, "gains": SEEN, "slower": SEEN, "more": REMOVED}
    known.write_text("[]")
    with pytest.raises(UserError, match="no register of claims"):
        changed(path)


def test_a_renamed_condition_changes_no_claim_and_is_told(tmp_path: Path) -> None:
    """The hash is over the name at registration; any other change still is one."""
    rename = ('where = { condition = "self" } }\nminus', 'where = { condition = "own" } }\nminus')
    why = 'why = "One per cent."\n'
    told = (why, why + 'renamed = { own = "self" }\n')
    before = load(file_of(tmp_path)).claims["gains"]
    after = load(file_of(tmp_path, rename, told))
    assert after.claims["gains"].hash() == before.hash()
    assert load(file_of(tmp_path, rename)).claims["gains"].hash() != before.hash()
    other = ('{ condition = "vanilla" } }\nbeside', '{ condition = "bias" } }\nbeside')
    assert load(file_of(tmp_path, rename, told, other)).claims["gains"].hash() != before.hash()
    text = page.preregistration(after, {"results": {}, "claims": {}})
    assert "`own` was called `self` when this was registered" in text
