"""Figures from tables. One function a figure; `registry.FIGURES` declares them all. Nothing here imports torch."""
