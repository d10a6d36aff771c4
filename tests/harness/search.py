"""How far hypothesis searches."""

from hypothesis import settings

USUAL = 100


def examples(usual: int) -> int:
    """How many examples the profile in force wants of a test that usually takes this many."""
    return max(1, usual * settings().max_examples // USUAL)
