"""What every command line of the project shares: arguments, progress, and how errors end it."""

import argparse
import atexit
import contextlib
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from base import NAME
from base.errors import UserError, one_line

LONGEST_NAME, LONGEST_PATH = 255, 4000  # bytes that file systems take


class Parser(argparse.ArgumentParser):
    """argparse, its errors one line each, its paths such as a file system takes and a terminal shows."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, *given: Any, **more: Any) -> Any:
        found, rest = super().parse_known_args(*given, **more)
        for name, value in vars(found).items():
            if isinstance(value, Path):
                check_path(value, name)
                setattr(found, name, at_home(value, name))
        return found, rest


def at_home(path: Path, name: str) -> Path:
    """A path whose ~ is the home that it means, which a shell leaves alone in --out=~/x. UserError where there is none."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise UserError(f"{name}: {path} is in the home of nobody here; give the whole path") from None


def check_path(path: Path, name: str) -> None:
    """UserError where a path has a name that is too long, or signs that can't be shown."""
    if not str(path).isprintable():
        raise UserError(f"{name}: {str(path)!r} has signs that can't be shown; choose another name")
    lengths = [len(os.fsencode(part)) for part in path.parts]
    if max(lengths, default=0) > LONGEST_NAME or sum(lengths) > LONGEST_PATH:
        raise UserError(f"{name}: {str(path)[:60]}... is too long for a path; choose a shorter one")


def check_names(names: Sequence[str], option: str) -> None:
    """UserError where one of some names can't be a suite's, and so would lead to another folder."""
    for name in names:
        if not re.fullmatch(NAME, name):
            raise UserError(f"{option} {name!r}: a suite's name has lower-case letters, digits and _")


def add_suite_arguments(parser: argparse.ArgumentParser) -> None:
    """A suite file, `--set`, `--quick` and `--out`."""
    parser.add_argument("suite", type=Path, help="a suite file, for example configs/shakespeare.toml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set a config field")
    parser.add_argument(
        "--quick", action="store_true", help="the suite made small, too small to conclude from"
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder to write to (default out)")


@contextlib.contextmanager
def progress_bar(label: str, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total): a bar with the time left on a terminal, nothing elsewhere or if not shown."""
    from tqdm import tqdm

    with tqdm(
        desc=label, unit=" steps", disable=not (shown and sys.stderr.isatty()), dynamic_ncols=True
    ) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def set_aside() -> None:
    """Forget the variables by which others set up libraries that we use too, which read them as they are loaded: figures
    have a canvas of their own, and bars their own pace."""
    for name in [*os.environ]:
        if name == "MPLBACKEND" or name.startswith("TQDM_"):
            del os.environ[name]


def heed() -> None:
    """Stands at the head of a command's file: a Ctrl-C while its modules are loaded, before `run` can end it in words, ends
    it at once, and what is set for others is set aside. Nothing changes where Ctrl-C is someone else's."""
    set_aside()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: object) -> NoReturn:
    os._exit(130)


def run(main: Callable[[Sequence[str]], object]) -> NoReturn:
    """Call `main` with the command line and exit: 2 and one line for a user's mistake, 130 for Ctrl-C.

    A file system that refuses (full, read-only) ends with 1 and one line. A Ctrl-C that comes after all that changes
    nothing.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # a terminal of few signs gets the others escaped, a file gets all
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    try:
        if signal.getsignal(signal.SIGINT) is _leave:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except MemoryError:
        print("error: there is not enough memory for this; take a smaller model or text", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        sys.exit(2 if isinstance(error, NotADirectoryError | IsADirectoryError) else 1)
    except KeyboardInterrupt:
        _ignore_interrupts()  # so that a second one makes no traceback of it
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)
    finally:
        atexit.unregister(_ignore_interrupts)
        atexit.register(_ignore_interrupts)  # last, and so the first to be called
    sys.exit(status if isinstance(status, int) else 0)


def _ignore_interrupts() -> None:
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)
