"""What did a piece of work cost? Seconds of the processor, or of the accelerator that it held."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Meter:
    """Counts seconds that do not depend on what else the machine does, as far as that can be had.

    Without an accelerator these are processor seconds of this process, its threads and its ended children, so that a
    busy machine changes them little. With one they are the seconds for which it was held.

    Args:
        device: Where the work is done; by default a GPU where there is one.
    """

    def __init__(self, device: torch.device | str | None = None) -> None:
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.unit = "processor" if torch.device(chosen).type == "cpu" else "device"
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add what is done inside."""
        begun = self._now()
        try:
            yield
        finally:
            self.seconds += self._now() - begun

    def _now(self) -> float:
        if self.unit == "device":
            return time.perf_counter()
        spent = os.times()
        return spent.user + spent.system + spent.children_user + spent.children_system
