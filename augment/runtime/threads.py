"""How many threads compute? As many as a result was promised for: a sum over several is rounded otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def pinned_threads(count: int) -> Iterator[None]:
    """Compute with this many threads inside, and with as many as before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
