"""What every part stands on and nothing here knows: whole files, counter-based randomness, hashes of code, the machine."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # of the repository
