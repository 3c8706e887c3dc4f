"""BRIDGE, until the study is a graph of steps: what study/ asks of experiments/claims."""

from pathlib import Path

from base import storage
from experiments.claims.file import register
from experiments.claims.judge import SUITE, judge
from experiments.kit.tables import Tables, content

__all__ = ["register", "write"]


def write(tables_dir: Path, _: Path | None = None) -> list[Path]:
    """Judge the claims by the tables of all suites. Returns the files written."""
    made = {
        tables_dir / SUITE / f"{name}.csv": table for name, table in judge(Tables(tables_dir, SUITE)).items()
    }
    for path, table in made.items():
        storage.write_bytes(path, content(table))
    return [*made]
