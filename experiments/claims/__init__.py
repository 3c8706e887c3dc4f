"""Every claim, written and hashed before its results (file), decided by the study's tables (judge), and shown (page)."""
