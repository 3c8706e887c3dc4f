"""What is asked of the core conditions: can a regime be told from the log?"""

import pandas as pd

from analysis.classification import PAIRS, PAIRS_NO_CLAMP, classification, classification_seeds, fewer
from experiments.kit.runs import Context


def tables(context: Context) -> dict[str, pd.DataFrame]:
    """The tables classification and classification_seeds.

    Without self_clamp, with as few permutations as the controls.
    """
    settings = context.suite.signatures
    told = classification(context.runs, settings)
    unheld = classification(context.runs, fewer(settings), PAIRS_NO_CLAMP)
    return {
        "classification": told if unheld.empty else pd.concat([told, unheld], ignore_index=True),
        "classification_seeds": classification_seeds(context.runs, settings, (*PAIRS, *PAIRS_NO_CLAMP)),
    }
