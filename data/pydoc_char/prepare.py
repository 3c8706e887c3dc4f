"""Makes the tokens of pydoc_char: python data/pydoc_char/prepare.py [--out DIR]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from data.prepare import main

if __name__ == "__main__":
    sys.exit(main("pydoc_char"))
