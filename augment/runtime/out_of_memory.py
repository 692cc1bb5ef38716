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
        option: The argument that sets the batch size, for the message.

    Attributes:
        fitted: Rows that fitted, if memory ever ran out.
    """

    def __init__(self, what: str, option: str) -> None:
        self.what = what
        self.option = option
        self.fitted: int | None = None

    def __call__(self, step: Callable[[slice], Part], count: int) -> list[Part]:
        """Results of `step(rows)` for consecutive slices that cover `count` rows.

        Raises:
            UserError: If not even one row fits.
        """
        parts: list[Part] = []
        done, known = 0, self.fitted
        while done < count:
            size = min(count - done, self.fitted or count)
            rows = slice(done, done + size)
            try:
                parts.append(step(rows))
                done += size
                if self.fitted != known:
                    known = self._say()
                continue
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise UserError(
                        "memory",
                        f"out of memory while {self.what} a single image ({str(error).splitlines()[0]})",
                        "use bf16 for `model.precision`, a smaller `backbone.resolution` or a larger device",
                    ) from error
            # Out of the handler: its traceback no longer holds on to the failed call's tensors.
            torch.cuda.empty_cache()
            self.fitted = size // 2
        return parts

    def _say(self) -> int | None:
        log.warning(
            "out of memory while %s; going on with %d images at a time (%s=%d would have fitted)",
            self.what,
            self.fitted,
            self.option,
            self.fitted,
        )
        return self.fitted
