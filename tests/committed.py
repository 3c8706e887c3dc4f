"""The committed tables, and whether they are of the claims as they stand."""

from base.storage import ROOT
from experiments.claims.file import Claims
from experiments.kit.tables import Tables

COMMITTED = ROOT / "docs" / "results" / "tables"


def published_with(claims: Claims) -> bool:
    """Whether the committed tables are of these very claims; until the study is published again they need not be."""
    judged = Tables(COMMITTED, "claims").rows("claims")
    return len(judged) > 0 and judged["file_sha256"].iloc[0] == claims.sha256
