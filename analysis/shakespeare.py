"""What is asked of the core conditions: which way does the state go?"""

import pandas as pd

from analysis.trajectory import state_path
from experiments.kit.runs import Context


def tables(context: Context) -> dict[str, pd.DataFrame]:
    """The table state_path."""
    return {"state_path": state_path(context.runs)}
