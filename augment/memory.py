"""What if a batch does not fit into the accelerator's memory? It is cut in half, and the run goes on."""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

from augment.errors import UserError

log = logging.getLogger(__name__)

Part = TypeVar("Part")


class Halving(Generic[Part]):
    """Calls a step on as many rows of a batch as fit, and remembers how many that are.

    A later batch starts with what fitted before: trying the full batch again would waste a failed call each time.

    Args:
        what: The step, for the message.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.fitted: int | None = None

    def __call__(self, step: Callable[[slice], Part], count: int) -> list[Part]:
        """Results of `step(rows)` for consecutive slices that cover `count` rows.

        Raises:
            UserError: If not even one row fits.
        """
        parts: list[Part] = []
        done = 0
        while done < count:
            size = min(count - done, self.fitted or count)
            rows = slice(done, done + size)
            try:
                parts.append(step(rows))
                done += size
                continue
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise UserError(
                        f"out of memory while {self.what} a single image ({str(error).splitlines()[0]}); "
                        f"use --model.precision bf16, a smaller --model.backbone.resolution or a larger device"
                    ) from error
            # Out of the handler: its traceback no longer holds on to the failed call's tensors.
            torch.cuda.empty_cache()
            self.fitted = size // 2
            log.warning(
                "out of memory while %s %d images; going on with %d at a time (--batch_size %d would have fitted)",
                self.what,
                size,
                self.fitted,
                self.fitted,
            )
        return parts
