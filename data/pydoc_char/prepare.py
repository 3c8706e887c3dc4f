"""Makes the tokens of pydoc_char: python data/pydoc_char/prepare.py [--out DIR]."""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from base import command_line

if __name__ == "__main__":
    command_line.heed()

from data.prepare import main

if __name__ == "__main__":
    command_line.run(partial(main, "pydoc_char"))
