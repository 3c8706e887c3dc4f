"""What every command line of the project shares: arguments, progress, and how errors end it."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from storage import UserError


class Parser(argparse.ArgumentParser):
    """argparse, its errors one line each."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def add_suite_arguments(parser: argparse.ArgumentParser) -> None:
    """A suite file, `--set`, `--quick` and `--out`."""
    parser.add_argument("suite", type=Path, help="a suite file, for example configs/shakespeare.toml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set a config field")
    parser.add_argument("--quick", action="store_true", help="the suite's small [quick] form")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder to write to (default out)")


@contextlib.contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total): a bar with the time left on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    with tqdm(desc=label, unit=" steps", disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def run(main: Callable[[Sequence[str]], object]) -> NoReturn:
    """Call `main` with the command line and exit: 2 and one line for a user's mistake, 130 for Ctrl-C.

    A file system that refuses (full, read-only) ends with 1 and one line.
    """
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)
