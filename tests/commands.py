"""The type of a command that a test gives, and the settings of a study that takes seconds."""

from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]  # its words in; exit code, standard output and standard error out

QUICK = """
[plan]
backbones = ["test_vit"]
[training]
steps = 6
eval_every = 3
input_px = 32
batch_size = 8
[weights]
pretrained = false
"""
