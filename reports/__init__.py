"""Pages from tables: the study's results in words. Nothing here imports torch or trains; every verdict is computed."""
