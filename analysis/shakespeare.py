"""What is asked of the core conditions: can a regime be told from the log, and which way does the state go?"""

import pandas as pd

from analysis.classification import classification
from analysis.context import Context
from analysis.trajectory import state_path


def tables(context: Context) -> dict[str, pd.DataFrame]:
    """The tables classification and state_path."""
    return {
        "classification": classification(context.runs, context.suite.signatures),
        "state_path": state_path(context.runs),
    }
