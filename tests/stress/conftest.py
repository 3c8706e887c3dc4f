"""`./run.sh stress` runs what is here; with --short, only what is not marked as long."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--short", action="store_const", dest="markexpr", const="not long", help="what takes a minute or two"
    )
