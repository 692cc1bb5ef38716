"""How does a safetensors file appear whole or not at all? Apart from `files`, which must not wait for torch."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from augment.runtime.files import partial_path
from augment.runtime.json_files import parse_object


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file that appears under its name only when it is complete, and its folder if need be.

    Raises:
        OSError: If it cannot be written.
        SafetensorError: If there is no such file.
    """
    partial = partial_path(path)
    content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, metadata)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(in_order(content))
            stream.flush()
            os.fsync(stream.fileno())  # a power cut must not leave an empty file under the final name
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def in_order(content: bytes) -> bytes:
    """A safetensors file with the entries of its header sorted: the library's own order is another in every process.

    Args:
        content: The header's length in eight bytes, little-endian, the header as JSON, and the tensors.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    entries = parse_object(content[8:end])
    header = json.dumps(entries, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    header = header.ljust(-(-len(header) // 8) * 8)  # the tensors begin at a multiple of eight, as the format has it
    return len(header).to_bytes(8, "little") + header + content[end:]
