"""What a model does and what it says it will do: is its next prediction doubtful, is its likeliest next character a common one?

Asked after a text and five options, with something set. What it does is read off its own prediction after the text; nothing in a
row shows it. An answer can be right because the text alone tells it: so the answers given under the sham are held against what
the model does when it is steered, too.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model import GPT
from probes.odds import PARTS, Answerer, Quiz, only_at
from probes.quiz import COMMON, HIGH, LOW, RARE, TEXT, Tokens, put
from probes.setting import Setting

SHARE = 0.5  # of a text's characters that the common ones make up
WORDS = {"entropy": (HIGH, LOW), "next": (COMMON, RARE)}
BEHAVIOUR = (
    *("seed", "run_step", "lesson", "asked", "regime", "group", "strength"),
    *("right", "floor", "stale", "changed", "followed", "stayed", "shift"),
)
PLACES = ("seed", "run_step", "lesson", "asked", "regime", "group", "place", "shift")


@dataclass(frozen=True)
class Habits:
    """Where doubtful begins, nats, and which characters are common, (V,) bool."""

    doubtful: float
    common: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls, gpt: GPT, layer: int, texts: Tensor, vectors: Tensor, text: np.ndarray, characters: int
    ) -> "Habits":
        """From a model's median entropy after texts (N, 15) under vectors (N, C), and from how often a text has each of so many
        characters."""
        counts = np.bincount(text, minlength=characters)
        order = np.argsort(-counts, kind="stable")
        kept = order[: 1 + int(np.searchsorted(np.cumsum(counts[order]), SHARE * counts.sum()))]
        common = torch.zeros(characters, dtype=torch.bool)
        common[torch.from_numpy(kept)] = True
        return cls(prediction(gpt, layer, texts, vectors, characters)[0].median().item(), common)

    def words(self, tokens: Tokens, doubt: Tensor, likeliest: Tensor) -> Tensor:
        """The words (N, 2) that tell it. doubt: (N,) entropy. likeliest: (N,) characters."""
        high = torch.where(doubt > self.doubtful, tokens.word(HIGH), tokens.word(LOW))
        return torch.stack(
            [high, torch.where(self.common[likeliest], tokens.word(COMMON), tokens.word(RARE))], 1
        )


@torch.no_grad()
def prediction(
    gpt: GPT, layer: int, texts: Tensor, vectors: Tensor, characters: int
) -> tuple[Tensor, Tensor]:
    """Entropy (N,) and log-probabilities (N, characters) of the next character after texts (N, 15) under vectors (N, C) or (C,)."""
    given = vectors[:, None] if vectors.dim() == 2 else vectors
    log_p = F.log_softmax(gpt(texts[:, :TEXT], into=put(layer, given))[0][:, -1, :characters], -1)
    return -(log_p.exp() * log_p).sum(-1), log_p


def said(answer: Answerer, rows: Tensor, vectors: Tensor, pair: tuple[int, int], tokens: Tokens) -> Tensor:
    """Log-odds (N,) of the first of two words after rows that end with a question."""
    logits = answer(rows, vectors)
    return (logits[:, tokens.word(pair[0])] - logits[:, tokens.word(pair[1])]).double()


def behaviours(
    gpt: GPT, answer: Answerer, setting: Setting, quizzes: Iterable[Quiz], habits: Habits, strengths: Iterable[float]
) -> list[dict[str, object]]:  # fmt: skip
    """Rows by question, class and strength.

    right: share of prompts whose answer is what the model does, steered. floor: of always giving the commonest. stale: of the
    sham's answers, held against what it does steered. changed: share of prompts in which steering changes what it does; followed, stayed:
    of these, the shares whose steered and whose sham's answers are right. shift: Δ log-odds of the answer towards where what it does
    has moved, nats.
    """
    found = []
    for quiz in quizzes:
        tokens, sham = quiz.tokens, setting.sham
        before = prediction(gpt, setting.layer, quiz.texts, sham, len(habits.common))
        for strength in strengths:
            steered = sham + strength * setting.away[quiz.which]
            after = prediction(gpt, setting.layer, quiz.texts, steered, len(habits.common))
            for asked, pair in WORDS.items():
                does, did = (doing(asked, habits, one) for one in (after, before))
                say, old = (said(answer, quiz.rows(asked), one, pair, tokens) for one in (steered, sham))
                changed = (does > 0) != (did > 0)
                right, stale = (((one > 0) == (does > 0)).double() for one in (say, old))
                share = (does > 0).double().mean().item()
                found.append({
                    "asked": asked, "regime": setting.names[quiz.which], "group": setting.group[quiz.which], "strength": strength,
                    "right": right.mean().item(), "floor": max(share, 1 - share), "stale": stale.mean().item(),
                    "changed": changed.double().mean().item(), "followed": right[changed].mean().item(),
                    "stayed": stale[changed].mean().item(), "shift": ((does - did).sign() * (say - old)).mean().item(),
                })  # fmt: skip
    return found


def doing(asked: str, habits: Habits, predicted: tuple[Tensor, Tensor]) -> Tensor:
    """What a model does, (N,), above zero where the first word tells it: nats of entropy above the bound, or how much likelier the
    likeliest common character is than the likeliest rare one, in nats."""
    doubt, log_p = predicted
    if asked == "entropy":
        return (doubt - habits.doubtful).double()
    common = log_p.masked_fill(~habits.common, -torch.inf).amax(-1)
    return (common - log_p.masked_fill(habits.common, -torch.inf).amax(-1)).double()


def places(
    gpt: GPT, answer: Answerer, setting: Setting, quizzes: Iterable[Quiz], habits: Habits
) -> list[dict[str, object]]:
    """Rows by question, class and place: what the answer moves by, in nats, when something is set at the text's tokens alone, at the
    options', at the question's, at all. Of `state` the index, of the others the shift (see `behaviours`)."""
    found = []
    for quiz in quizzes:
        sham, steered = setting.sham, setting.ends[quiz.which]
        length = quiz.rows("state").shape[1]
        none = quiz.logits(answer, sham)
        before, after = (
            prediction(gpt, setting.layer, quiz.texts, one, len(habits.common)) for one in (sham, steered)
        )
        for part in PARTS:
            vectors = only_at(part, sham, steered, length)
            moved = {"state": quiz.compared(none, quiz.logits(answer, vectors))["index"]}
            for asked, pair in WORDS.items():
                way = (doing(asked, habits, after) - doing(asked, habits, before)).sign()
                say, old = (said(answer, quiz.rows(asked), one, pair, quiz.tokens) for one in (vectors, sham))
                moved[asked] = (way * (say - old)).mean().item()
            place = {"regime": setting.names[quiz.which], "group": setting.group[quiz.which], "place": part}
            found += [{**place, "asked": asked, "shift": shift} for asked, shift in moved.items()]
    return found
