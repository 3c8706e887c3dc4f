"""What the suites of tests share: the smallest model, the shortest frozen-weight test, the fewest permutations, a text."""

LEAST_MODEL = """
name = "tiny"
seeds = 1
corpus = "tiny_text"
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 8
[train]
"""
LEAST_TEST = """\
finder_batches = 1
dev_batches = 1
heldout_batches = 1
top = 1
doses = 2
"""
LEAST_SIGNATURES = """\
permutations = 3
classify_steps = 4
"""
TEXT = "To see a world in a grain of sand, and a heaven in a wild flower. " * 60
