"""With how many threads does the processor compute? It decides the last bits of a sum."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def pinned_threads(count: int) -> Iterator[None]:
    """Compute with this many threads: a sum over several is rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
