"""What the fields mean: said once, where they are declared, and repeated in base.toml."""

import importlib
import pkgutil
from collections.abc import Iterator

import configs
from base.storage import ROOT
from configs import meanings
from configs.fields import Strict

BASE = (ROOT / meanings.BASE).read_text(encoding="utf-8")


def models(of: type[Strict] = Strict) -> Iterator[type[Strict]]:
    for one in of.__subclasses__():
        yield one
        yield from models(one)


def test_every_field_says_what_it_means() -> None:
    for found in pkgutil.walk_packages(configs.__path__, "configs."):
        importlib.import_module(found.name)
    fields = {
        f"{one.__name__}.{name}": field
        for one in models()
        if one.__module__.startswith("configs.")
        for name, field in one.model_fields.items()
        if name != "kind"
    }
    assert len(fields) > 100 and [name for name, field in fields.items() if not field.description] == []


def test_base_toml_repeats_it() -> None:
    assert meanings.commented(BASE) == BASE, "run: ./run.sh python scripts/make_report.py --configs"
    settings = BASE.partition("[quick]")[0].splitlines()
    assert [line for line in settings if line[:1].isalpha() and "#" not in line] == []


def test_a_comment_follows_the_declaration() -> None:
    spoilt = BASE.replace("# attention heads a block", "# heads").replace('kind = "own"  ', 'kind = "own"#')
    assert spoilt != BASE and meanings.commented(spoilt) == BASE
    own = 'corpus = "a#b"\nseeds = 3 # mine\n[schedules.x]\nkind = "recurring"\nenter = 0.1\n'
    assert meanings.commented(own).splitlines() == [
        f'corpus = "a#b"                  # {meanings.meaning(("corpus",), None)}',
        f"seeds = 3                       # {meanings.meaning(('seeds',), None)}",
        "[schedules.x]",
        'kind = "recurring"              # none, windows, random_windows, recurring',
        "enter = 0.1                     # of leaving calm, each step: 1 / enter calm steps on average",
    ]
