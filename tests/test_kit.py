"""The kit, tried as one who adds an experiment would: `hello`, a table, a finding, a figure of one panel, and a page."""

import gzip
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy

from base import storage
from base.storage import UserError
from experiments import found
from experiments.kit import pages, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment, Table
from experiments.kit.pages import render
from experiments.kit.runs import Context
from experiments.kit.stats import ahead, estimate, first_true, unpaired
from experiments.kit.style import Look
from experiments.kit.tables import NothingToDraw, Tables, content, read, stack
from experiments.kit.words import Finding, difference
from scripts import make_report
from tests.made_runs import assert_clean, cells, context, made_run, make_tables, read_from, title_of

# The experiment.

LOOKS = {
    "loud": Look("says it twice", style.BLUE),
    "quiet": Look("says it once", style.ORANGE, "dashed", "s"),
}


def hello_words(context: Context) -> pd.DataFrame:
    """One row a run: words, the last step's loss."""
    rows = [run.label(pd.DataFrame({"words": [run.metrics()["loss"].iloc[-1]]})) for run in context.runs]
    return stack(rows)


def hello_means(context: Context, hello_words: pd.DataFrame) -> pd.DataFrame:
    """One row a condition: mean of words."""
    return hello_words.groupby("condition")["words"].mean().reset_index()


def findings(tables: Tables) -> dict[str, Finding]:
    """Who says more."""
    at = tables.by_condition("hello_words", LOOKS)
    return {"more": difference("The loud say more.", at.against("loud", ["quiet"], "words"), +1, "words", 1)}


FIGURE = draw.sheet(
    "hello.png", [draw.points("hello_words", "words", "what was said", "words")], looks=LOOKS, title=("more",),
    shows="Words by condition.", caption="Every point a seed ({seeds}).",
)  # fmt: skip
HELLO = Experiment(
    "hello", "Hello: who says more?", (hello_words, hello_means), findings, (FIGURE,),
    {"said": pages.grid("hello_words", LOOKS, words=("words", "1"))},
)  # fmt: skip
TEMPLATE = """\
{% import "kit.md" as say %}
{{ say.head() }}

## Who says more?

{{ grid.said }}

{{ figure("hello.png", "Words") }}

The loudest says {{ top("hello_words", "words", condition="loud") | digits(1) }}, all {{ mean("hello_words", "words") | signed(2) }}.

{% call say.conditions() %}
loud: says it twice
quiet: says it once
absent: was never run
{% endcall %}

{{ say.foot() }}
"""


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Of three seeds: loud says 5, 6, 7 words, quiet 2, 3, 4."""
    runs = [
        made_run(condition, seed, pd.DataFrame({"loss": [9.0, first + seed]}), None)
        for condition, first in (("quiet", 1.0), ("loud", 4.0))
        for seed in (1, 2, 3)
    ]
    made = make_tables(HELLO.of("hello"), context(runs))
    assert made["hello_means"].to_dict("list") == {"condition": ["loud", "quiet"], "words": [6.0, 3.0]}
    table = made["hello_words"][["suite", "condition", "seed"]]

    return read_from(
        tmp_path / "tables",
        "hello",
        made | {"runs": table.assign(steps=2, dtype="float32", corpus="x", parameters=800_000)},
    )


def page(tables: Tables, folder: Path, template: str = TEMPLATE, note: str = "") -> str:
    (folder / "hello.md").write_text(template)
    return render(HELLO, tables, "../figures", note, folder)


def test_a_page_says_what_the_tables_say(tables: Tables, tmp_path: Path) -> None:
    text = page(tables, tmp_path, note="Quick\nstudy.")
    assert text.startswith(
        "# Hello: who says more?\n\n> **Quick study.**\n\nSuite `s`, corpus `x`, models of 0.80 million"
    )
    assert (
        "\n\n## In short\n\n- **The loud say more.** minus says it once +3.0 [+3.0, +3.0] words, paired by seed, n = 3.\n\nBrackets"
        in text
    )
    assert cells(text, "`loud`: says it twice |") == [
        "`loud`: says it twice",
        "6.0 [3.5, 8.5]",
        "3",
    ]  # 6 ± 4.303 / √3
    assert "The loudest says 7.0, all +4.50." in text and "![Words](../figures/hello.png)" in text
    assert "## Conditions\n\n| condition | what it is |\n| --- | --- |\n| `loud` | says it twice |" in text
    assert "never run" not in text and "\n\n\n" not in text and text.endswith("`docs/METRICS.md`.\n")


def test_a_figure_shows_what_the_tables_say(tables: Tables) -> None:
    (figure,) = HELLO.figures
    with style.context():
        drawing = figure.draw(tables, "a note")
        assert_clean(figure.name, drawing)
        assert style.png_bytes(drawing) == style.png_bytes(figure.draw(tables, "a note"))
    assert title_of(drawing) == "The loud say more."
    (axes,) = drawing.axes
    points = [line.get_ydata() for line in axes.lines if line.get_marker() in ("o", "s")]
    assert [np.asarray(values).tolist() for values in points] == [[5, 6, 7], [2, 3, 4]]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["loud", "quiet"]
    assert "Every point a seed (3 seeds)." in " ".join(drawing.texts[1].get_text().split())


def test_what_was_asked_for_is_known(tables: Tables, tmp_path: Path) -> None:
    """A figure and a page hang on the tables that they read, present or not."""
    (figure,) = HELLO.figures
    with style.context():
        figure.draw(tables, "")
    assert tables.reads == {("hello", "hello_words")}
    tables.of("other").rows("nothing")
    assert tables.reads == {("hello", "hello_words"), ("other", "nothing")}


def test_where_nothing_is_there_a_page_says_so_and_a_figure_is_not_drawn(tmp_path: Path) -> None:
    nothing = Tables(tmp_path, "hello")
    text = page(nothing, tmp_path)
    assert "Nothing has been measured yet." in text and words.MISSING in text and "nan" not in text
    assert "No finished run is in the tables." in text and "![" not in text and "## Conditions" not in text
    with pytest.raises(NothingToDraw):
        HELLO.figures[0].draw(nothing, "")


def test_a_table_that_lacks_a_column_is_named_in_one_line(tables: Tables, tmp_path: Path) -> None:
    old = read(tables.folder, "hello", "hello_words").drop(columns="words")
    tables = read_from(tables.folder, "hello", {"hello_words": old})
    for ask in (lambda: page(tables, tmp_path), lambda: HELLO.figures[0].draw(tables, "")):
        with pytest.raises(UserError, match=r"the column words is not in hello/hello_words: .*delete"):
            ask()


@pytest.mark.parametrize("cell", ["#DIV/0!", "n.a."])
@pytest.mark.parametrize("rows", [1, 6])
def test_words_in_a_column_of_numbers_are_named_in_one_line(
    tables: Tables, tmp_path: Path, cell: str, rows: int
) -> None:
    spoilt = read(tables.folder, "hello", "hello_words", texts=True)
    spoilt.loc[: rows - 1, "words"] = cell
    tables = read_from(tables.folder, "hello", {"hello_words": spoilt})
    for ask in (lambda: page(tables, tmp_path), lambda: HELLO.figures[0].draw(tables, "")):
        with pytest.raises(
            UserError, match=f"hello_words.csv, line 2: '{cell}' is no number for the column words; empty"
        ):
            ask()


def test_words_where_a_number_is_asked_for_are_not_passed_over(tables: Tables) -> None:
    spoilt = read(tables.folder, "hello", "hello_words", texts=True)
    spoilt.loc[1, "words"] = "n.a."
    tables = read_from(tables.folder, "hello", {"hello_words": spoilt})
    with pytest.raises(UserError, match=r"line 3: .n\.a\.."), tables.needed("x"):
        tables.rows("hello_words", words=4)


@pytest.mark.parametrize(
    ("row", "said"),
    [(",,,", "has no suite"), ("s,,1,2", "has no condition"), ("s,a,,2", "has no seed"), ("s,a,n.a.,2", "has no seed")],
)  # fmt: skip
def test_a_row_of_nobody_is_named_by_its_line(tmp_path: Path, row: str, said: str) -> None:
    storage.write_text(tmp_path / "s" / "t.csv", f"suite,condition,seed,x\ns,a,1,2\n{row}\n")
    with pytest.raises(UserError, match=rf"t\.csv, line 3, {said}; mend"):
        Tables(tmp_path, "s").rows("t")
    storage.write_text(tmp_path / "s" / "u.csv", "id,x\na,1\n,\n")
    with pytest.raises(UserError, match=r"u\.csv, line 3, is blank; delete it"):
        Tables(tmp_path, "s").rows("u")


@pytest.mark.parametrize("folder", ["", "tables", "tables/shakespeare"])
def test_no_tables_are_said_to_be_none(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    with pytest.raises(UserError, match="tables holds no tables; run the study first"):
        make_report.main(["--out", str(tmp_path)])


def test_a_template_that_asks_for_what_is_not_there_is_refused(tables: Tables, tmp_path: Path) -> None:
    for wrong in (
        "{{ grid.sadi }}",
        "{{ nothing }}",
        '{{ figure("hallo.png", "") }}',
        "{{ finding.less.line() }}",
    ):
        with pytest.raises(Exception, match=r"sadi|nothing|hallo|less"):
            page(tables, tmp_path, TEMPLATE + wrong)


def test_a_page_may_hold_a_small_picture_and_no_other_tag() -> None:
    picture = '<img src="figures/a.png" width="320" alt="">'
    assert words.harmless(picture) == picture
    for worse in (
        picture.replace('alt=""', 'onerror="x"'),
        picture.replace("figures/", "https://e.org/"),
        "<b>",
    ):
        assert words.harmless(worse).startswith("&lt;")


def test_whatever_stands_in_tables_is_harmless_on_a_page(tables: Tables, tmp_path: Path) -> None:
    rows = read(tables.folder, "hello", "hello_words")
    rows["condition"] = rows["condition"].replace("loud", "<script>\u202e a | b")
    text = page(read_from(tables.folder, "hello", {"hello_words": rows}), tmp_path)
    assert "&lt;script>" in text and "<script" not in text and "\u202e" not in text and r"a \| b" in text


# How tables are made.


def test_tables_are_made_after_what_they_are_made_of() -> None:
    order = []

    def last(context: Context, first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
        order.append("last")
        return first.assign(b=second["b"])

    def second(context: Context, first: pd.DataFrame) -> pd.DataFrame:
        order.append("second")
        return pd.DataFrame({"b": first["a"] * 2})

    def several(context: Context) -> dict[str, pd.DataFrame]:
        order.append("several")
        return {"first": pd.DataFrame({"a": [1]}), "beside": pd.DataFrame()}

    steps = [Table(last), Table(second), Table(several, ("first", "beside"))]
    assert steps[0].names == ("last",) and steps[0].needs == ("first", "second") and steps[2].needs == ()
    made = make_tables(steps, context([]))
    assert order == ["several", "second", "last"] and made["last"].to_dict("list") == {"a": [1], "b": [2]}
    with pytest.raises(ValueError, match="no function makes the tables first of suite s"):
        make_tables(steps[:2], context([]))


def test_what_is_made_of_nothing_is_nothing() -> None:
    made = make_tables(HELLO.of("hello"), context([]))
    assert [len(table) for table in made.values()] == [0, 0]


def test_an_experiment_makes_tables_of_its_suites_alone() -> None:
    one = Experiment("a", "A", (hello_words, Table(hello_means, suites=("b",))), suites=("a", "b"))
    assert [[table.names for table in one.of(suite)] for suite in ("a", "b", "c")] == [
        [("hello_words",)], [("hello_words",), ("hello_means",)], [],
    ]  # fmt: skip
    every = Experiment("every", "Every", (hello_words,), suites=("*",))
    assert len(every.of("anything")) == 1 and Experiment("two_words", "").page == "two-words.md"


def test_experiments_are_found_by_looking() -> None:
    experiments = found()
    assert {"experiments.runs", "experiments.swap", "experiments.claims.page"} <= set(experiments)
    of_runs = [
        one for one in experiments.values() if one.suites != ("claims",)
    ]  # which have their own `runs`
    names = [name for one in of_runs for table in one.tables for name in table.names]  # type: ignore[union-attr]
    assert len(names) == len({*names}), "two experiments make a table of one name"
    for one in experiments.values():
        for table in one.tables:
            assert table.make.__doc__, f"{table.make.__name__} tells no columns"  # type: ignore[union-attr]


# Tables, numbers and words.


def test_tables_are_read_packed_and_plain(tmp_path: Path) -> None:
    table = pd.DataFrame({"condition": ["null", "a"], "value": [1 / 3, np.nan]})
    assert content(table) == b"condition,value\nnull,0.333333333\na,\n"
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "packed.csv.gz").write_bytes(gzip.compress(content(table), mtime=0))
    (tmp_path / "s" / "spoilt.csv.gz").write_bytes(b"no gzip")
    found = Tables(tmp_path, "s").rows("packed", condition="null")
    assert found["value"].tolist() == [0.333333333]
    with pytest.raises(UserError, match=r"spoilt\.csv\.gz is not a table"):
        Tables(tmp_path, "s").rows("spoilt")


def test_an_absent_table_has_every_column_and_no_row(tmp_path: Path) -> None:
    rows = Tables(tmp_path, "s").rows("none", condition="a")
    assert rows["x"].empty and rows[rows["x"] > 1]["y"].empty and list(rows.groupby(["a", "b"])) == []
    assert rows.groupby("seed")["x"].mean().empty and "x" in rows


def test_steps_until_something() -> None:
    assert ahead([0, 1, 2, 3], 2).tolist() == [0.5, 1.5, 2.5] and ahead([4, 8], 10).tolist() == [6.0]
    assert first_true(np.array([False, True])) == 1 and np.isnan(first_true(np.array([False])))
    steps = pd.Series({1: 9.0, 2: np.inf, 3: 5.0})
    assert (
        words.median(steps) == "9 (2 of 3)"
        and words.median(pd.Series({1: 1.0, 2: np.inf})) == "never (1 of 2)"
    )


@pytest.mark.parametrize(
    ("kind", "shown"), [("2", "0.20 [0.08, 0.32]"), ("±1", "+0.2 [+0.1, +0.3]"), ("%", "20 %")]
)
def test_formats_of_cells(kind: str, shown: str) -> None:
    assert pages.shown(estimate(pd.Series([0.15, 0.2, 0.25, np.nan])), kind) == shown
    assert pages.shown(estimate(pd.Series(dtype=float)), kind) == "–"


def test_a_course_shows_means_at_places(tmp_path: Path) -> None:
    rows = pd.DataFrame({"condition": "a", "seed": [1, 1, 2, 2], "step": [0, 5, 0, 5], "x": [1, 2, 3, 5.0]})
    tables = read_from(tmp_path, "s", {"t": rows.assign(y=0.0)})
    made = pages.course("t", ["b", "a"], "step", (0, 5, 9), x=("X", "±1"), beside={"x": ("a", "by law", "y")})
    assert made(tables) == textwrap.dedent("""\
        | X: steps since | 0 | 5 |
        | --- | ---: | ---: |
        | `a` | +2.0 | +3.5 |
        | `a`, by law | 0.0 | 0.0 |""")


def test_what_is_said_of_every_regime_is_counted_where_it_does_not_hold() -> None:
    high, low, none = (
        estimate(pd.Series(values)) for values in ([1.0, 1.1, 1.2], [-1.0, -1.1, -1.2], [-1.0, 0.1, 1.0])
    )
    assert words.in_each("it rises", {"a": high, "b": high}, +1).title() == "In every regime it rises."
    found = words.in_each("it rises", {"a": high, "b": low, "c": none}, +1)
    assert found.title() == "In 1 of 3 regimes it rises." and "Clear in 1 of 3: a;" in found.evidence
    assert words.in_each("it rises", {"c": none}, +1).title() == "In none of 1 regime it rises."


def test_a_further_seed_could_give_what_lies_within_their_spread() -> None:
    values = estimate(pd.Series([1.0, 2.0, 3.0]))  # sd 1, t(2) = 4.303: 1 ± 4.303 · sqrt(4 / 3) about 2
    assert words.again(values, 2 + 4.96) == words.CLEAR and words.again(values, 2 + 4.98) == words.NOT_CLEAR
    assert words.again(estimate(pd.Series([1.0, 2.0])), 9) == words.OPEN
    assert words.again(estimate(pd.Series(dtype=float)), 9) == words.ABSENT


def test_no_word_stands_alone_in_the_last_line_of_a_title() -> None:
    assert style.wrapped("one two three four", 13) == "one two\nthree four"
    assert style.wrapped("one two three", 13) == "one two three" and style.wrapped("one", 13) == "one"


def test_seeds_that_have_nothing_in_common_are_compared_by_welch() -> None:
    """Means 2.5 and 4; variances of the means 5/12 and 4/3, which have 3 and 2 degrees of freedom."""
    one, other = pd.Series([1.0, 2.0, 3.0, 4.0]), pd.Series([2.0, 4.0, 6.0])
    found, spread = unpaired(one, other), 5 / 12 + 4 / 3
    freedom = spread**2 / ((5 / 12) ** 2 / 3 + (4 / 3) ** 2 / 2)
    reach = scipy.stats.t.ppf(0.975, freedom) * spread**0.5
    assert (found.n, found.mean) == (3, -1.5)
    assert (found.low, found.high) == pytest.approx((-1.5 - reach, -1.5 + reach))
    alone = unpaired(one, other[:1])
    assert alone.mean == 0.5 and np.isnan(alone.low) and np.isnan(unpaired(one[:0], other).mean)
