"""What every part stands on and nothing here knows: whole files, counter-based randomness, hashes of code, the machine."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # of the repository
NAME = r"[a-z][a-z0-9_]{0,63}"  # what suites, conditions and corpora may be called: folders, and words without quotes in TOML
