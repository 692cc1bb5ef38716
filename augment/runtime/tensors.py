"""How does a safetensors file appear whole or not at all? Apart from `files`, which must not wait for torch."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from augment.runtime.files import partial_path


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file that appears under its name only when it is complete, and its folder if need be.

    Raises:
        OSError: If it cannot be written.
        SafetensorError: If it cannot be written.
    """
    partial = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, partial, metadata=metadata)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())  # a power cut must not leave an empty file under the final name
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
