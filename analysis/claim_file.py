"""BRIDGE, until the study is a graph of steps: what study/refresh.py asks of experiments/claims."""

from experiments.claims.file import FILE, load, marks, read_register

__all__ = ["FILE", "load", "marks", "read_register", "removed"]


def removed(*_: object) -> list[str]:
    """None besides those that `marks` tells."""
    return []
