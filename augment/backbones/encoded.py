"""Which prompts have been encoded? Embeddings of each, made once, and forgotten only when they become too many."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from augment.backbones.start import KEPT_PROMPTS, Condition, join

MOST = 2 * KEPT_PROMPTS
"""Those that were encoded beforehand, and as many empty ones where each class has its own."""


class EncodedPrompts:
    """The embeddings of prompts."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Any, ...], Condition] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def rows(
        self,
        prompts: Sequence[str],
        owners: Sequence[int | None],
        how: tuple[Any, ...],
        encode: Callable[[str, int | None], Condition],
    ) -> Condition:
        """One row for each prompt.

        Args:
            prompts: Of any number.
            owners: The class whose own networks encode each; None where all share them.
            how: Whatever else decides an embedding's last bits.
            encode: Makes one row that is not there yet.
        """
        if len(self._rows) > MOST:
            self._rows.clear()
        keys = [(prompt, owner, *how) for prompt, owner in zip(prompts, owners, strict=True)]
        for key in dict.fromkeys(keys):
            if key not in self._rows:
                self._rows[key] = encode(key[0], key[1])
        found = join([self._rows[key] for key in keys])
        numbers = [owner for owner in owners if owner is not None]
        return replace(found, owner=torch.tensor(numbers)) if numbers else found

    def clear(self) -> None:
        """Forget all."""
        self._rows.clear()
