"""The study's TOML files, and beside them the typed fields that they fill."""
