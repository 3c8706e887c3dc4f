"""How every figure looks: sizes, colours, line styles, names for readers who have not seen the code, PNG bytes.

Colours are Okabe and Ito's (2008), which people with any colour vision can tell apart. A condition has the same
colour, line style and marker in every figure, so that it can be read in greyscale too.
"""

import io
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from experiments.kit.words import harmless

WIDE, COLUMN = 6.9, 3.4  # inches: a page's text and one of two columns
DPI = 200

BLACK, GREY, LIGHT = "#000000", "#7f7f7f", "#d4d4d4"
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a figure looks the same on every machine
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7.5,
    "legend.frameon": False,
    "legend.borderpad": 0.1,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.titlelocation": "left",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.2,
    "lines.solid_capstyle": "round",
    "patch.linewidth": 0.5,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.w_pad": 0.04,
    "axes.unicode_minus": True,
}


@dataclass(frozen=True)
class Look:
    """One thing's fixed look: the same in every figure."""

    label: str
    colour: str
    line: Any = "-"
    marker: str = "o"
    width: float = 1.2
    filled: bool = True

    @property
    def face(self) -> str:
        """Fill of a marker: its colour, or white for an open one."""
        return self.colour if self.filled else "white"


CONDITIONS: dict[str, Look] = {
    "self": Look("self-state, regimes", BLUE),
    "vanilla": Look("no self-state, regimes", VERMILLION, (0, (4, 1.6)), "s"),
    "self_calm": Look("self-state, no regime", GREY, "-", "v", 0.8, filled=False),
    "vanilla_calm": Look("no self-state, no regime", ORANGE, (0, (1, 1.2)), "D", filled=False),
    "self_random": Look("self-state, regimes at random times", SKY, (0, (6, 1.5, 1, 1.5)), "^"),
    "vanilla_random": Look("no self-state, regimes at random times", PURPLE, (0, (2, 1)), "P", filled=False),
}
TWINS = {"self": "vanilla", "self_calm": "vanilla_calm", "self_random": "vanilla_random"}
"""Each condition with a self-state, and its twin without one: same seeds, same batches, same regimes."""
_COLOURS = (GREEN, BLACK, YELLOW, BLUE, PURPLE, ORANGE, SKY, VERMILLION)
_STROKES = (
    ((0, (3, 1, 1, 1)), "X"), ((0, (5, 3)), "<"), ("-", ">"), (":", "p"), ((0, (8, 2)), "*"), ((0, (1, 2.5)), "h"), ((0, (4, 1, 1, 1, 1, 1)), "d"),
)  # fmt: skip
_SPARE = [(_COLOURS[at % 8], *_STROKES[at % 7]) for at in range(56)]  # no two alike, neighbours in nothing


@dataclass(frozen=True)
class RegimeLook:
    """What a regime does, in a few words, and its marker where regimes share a panel."""

    gloss: str
    marker: str


REGIMES: dict[str, RegimeLook] = {
    "bewilderment": RegimeLook("targets corrupted", "X"),
    "sensory_fog": RegimeLook("inputs masked", "o"),
    "false_feedback": RegimeLook("false statistics to the state", "s"),
    "self_clamp": RegimeLook("state clamped", "D"),
    "lr_heatwave": RegimeLook("learning rate raised", "^"),
}


@dataclass(frozen=True)
class Channel:
    """A logged metric: its axis label, its short name in a sentence, and whether its axis is logarithmic."""

    label: str
    name: str
    log: bool = False


CHANNELS: dict[str, Channel] = {
    "loss": Channel("loss (nats)", "loss"),
    "entropy": Channel("entropy (nats)", "entropy"),
    "top1": Channel("top-1 confidence (probability)", "top-1 confidence"),
    "grad_norm": Channel("gradient norm (L2)", "gradient norm"),
    "state_norm": Channel("state norm (L2)", "state norm"),
    "state_drift": Channel("state speed (L2 a step)", "state speed"),
    "state_ema_drift": Channel("state off its average (1 − cosine)", "distance from its average", log=True),
    "state_effect": Channel("state effect on text (mean |Δ logit|)", "state effect on text"),
    "prompt_effect": Channel("state effect (mean |Δ logit|)", "state effect"),
    "mlp_norm": Channel("network's proposal (L2)", "the update network's proposal"),
    "entropy_last": Channel("entropy, last position (nats)", "entropy of the last position"),
    "top1_last": Channel("top-1, last position (probability)", "top-1 confidence of the last position"),
}
OF_STATE_ALONE = ("false_feedback", "self_clamp")  # regimes that leave batches, targets and steps as they are
COMMON = ("loss", "entropy", "top1", "grad_norm")
OF_STATE = ("state_norm", "state_drift", "state_ema_drift", "prompt_effect")


def conditions(names: Iterable[str]) -> dict[str, Look]:
    """The looks of the conditions that one figure shows, by name, no two alike.

    One that is not among the known ones gets a spare look: the one that its name's letters lead to, or the next that is
    free, of a colour that is used least. Where none is free any more, its label names whom it looks like.
    """
    found = {name: CONDITIONS[name] for name in dict.fromkeys(names) if name in CONDITIONS}
    for name in sorted({*names} - {*found}):
        first = sum(name.encode()) % len(_SPARE)
        spares = [Look(name, *spare) for spare in (*_SPARE[first:], *_SPARE[:first])]
        free = [one for one in spares if not any(alike(one, other) for other in found.values())]
        used = Counter(look.colour for look in found.values())
        if free:
            found[name] = min(free, key=lambda one: used[one.colour])
        else:
            twin = next(other for other, look in found.items() if alike(look, spares[0]))
            found[name] = replace(spares[0], label=f"{name} (looks like {twin})")
    return {name: found[name] for name in names}


def alike(one: Look, other: Look) -> bool:
    """Whether two looks can't be told apart, be it as lines or as points."""
    return one.colour == other.colour and (one.line == other.line or one.marker == other.marker)


def condition(name: str) -> Look:
    """The look of a condition in a figure of its own, or among those that are known."""
    return conditions((name,))[name]


def figure(width: float, height: float) -> Figure:
    """An empty figure (inches) of its own, unknown to pyplot: nothing global to close or to leak."""
    made = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(made)
    return made


def finish(
    made: Figure,
    title: str,
    caption: str,
    note: str,
    legend: tuple[Sequence[Artist], Sequence[str]] = ((), ()),
    columns: int = 3,
) -> Figure:
    """Put the finding and the legend above the panels; below them, in small print, how to read the figure and the note.

    The panels are laid out in what is left, so that none of these ever lies on data.
    """
    note = harmless(note)
    width, height = made.get_size_inches()
    pad = 0.06
    title = wrapped(title.replace("`", ""), int(width * 13.2))
    top = height - pad
    made.text(0.01, top / height, title, ha="left", va="top", fontsize=9, fontweight="bold", linespacing=1.25)
    top -= 0.165 * (title.count("\n") + 1)
    handles, labels = legend
    while labels:
        place: dict[str, Any] = {
            "loc": "upper left",
            "bbox_to_anchor": (0.01, top / height),
            "borderaxespad": 0,
        }
        shown = made.legend(handles, labels, ncols=columns, **place)
        shown.set_in_layout(False)
        if columns == 1 or shown.get_window_extent().x1 <= made.bbox.width:
            top -= 0.14 * -(-len(labels) // columns) + 0.05
            break
        shown.remove()
        columns -= 1
    text = textwrap.fill(f"{caption} {note}".strip(), int(width * 19.2))
    made.text(0.01, pad / height, text, ha="left", va="bottom", fontsize=7, color="#333333", linespacing=1.3)
    bottom = pad + 0.135 * (text.count("\n") + 1) + 0.03
    engine = made.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, bottom / height, 1, (top - bottom) / height))
    engine.execute(made)  # panels that shrink get other ticks; drawing then lays them out again
    return made


def wrapped(title: str, width: int) -> str:
    """A title in lines of so many letters, or of fewer, so that no word stands alone in the last."""
    texts = (textwrap.fill(title, most) for most in range(width, width // 2, -1))
    return next((text for text in texts if " " in text.rpartition("\n")[2]), textwrap.fill(title, width))


def png_bytes(made: Figure) -> bytes:
    """The figure as PNG. Equal figures give equal bytes: no date and no software's name inside."""
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def context() -> Any:
    """A context in which figures are drawn: this style, whatever the user's own matplotlibrc says."""
    settings: Any = {**mpl.rcParamsDefault, **RC}
    del settings["backend"]  # figures here have their own canvas
    return mpl.rc_context(settings)


def log_axis(axes: Axes, across: bool = False) -> None:
    """A logarithmic y axis, or x axis, with plain numbers: 1, 2, 5 a decade where it spans few decades."""
    (axes.set_xscale if across else axes.set_yscale)("log")
    low, high = axes.get_xlim() if across else axes.get_ylim()
    axis = axes.xaxis if across else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 30 * low else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
