"""How much memory does a block of code take at most? What its device, or the system, counts meanwhile."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

STATM = Path("/proc/self/statm")
POLL_SECONDS = 0.002
PAGE_BYTES = 4096


class Peak:
    """The most that was in use at once while a block of code ran."""

    added = 0
    """Bytes beyond what was in use before."""


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure what the block adds: of a CUDA device its allocator counts it, elsewhere the process's resident memory.

    Resident memory is looked at every two milliseconds where the system tells it (Linux); elsewhere 0 is measured.
    """
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        torch.cuda.synchronize(device)
        peak.added = torch.cuda.max_memory_allocated(device) - before
        return
    before, done = resident(), threading.Event()

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            peak.added = max(peak.added, resident() - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def resident() -> int:
    """Bytes of the process that lie in memory; 0 where the system does not say."""
    return int(STATM.read_text().split()[1]) * PAGE_BYTES if STATM.is_file() else 0
