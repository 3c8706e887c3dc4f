"""One finished run in one page that a browser opens from disk: a state to steer by hand, beside its controls."""
