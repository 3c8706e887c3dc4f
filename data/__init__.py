"""Corpora: where their text comes from (`sources`), and their tokens (`corpus`)."""
