"""What every part stands on and nothing here knows: whole files, counter-based randomness, hashes of code, the machine."""
