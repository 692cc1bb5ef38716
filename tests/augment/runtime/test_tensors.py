"""A file of tensors is a function of what it holds, in any process."""

import subprocess
import sys
from pathlib import Path

import torch
from safetensors import safe_open

from augment.runtime.tensors import in_order, write_tensors

METADATA = {name: f"ø {name}" for name in ("name", "key", "quality", "a", "b", "c")}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tensors = {"latent": torch.randn(3, 2), "unconditional": torch.arange(5, dtype=torch.int16)}
    write_tensors(tmp_path / "deep" / "x.safetensors", tensors, METADATA)
    with safe_open(tmp_path / "deep" / "x.safetensors", "pt") as file:
        assert file.metadata() == METADATA
        assert {name: file.get_tensor(name).tolist() for name in file.keys()} == {  # noqa: SIM118  (no mapping)
            name: tensor.tolist() for name, tensor in tensors.items()
        }
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.safetensors"]
    content = (tmp_path / "deep" / "x.safetensors").read_bytes()
    assert in_order(content) == content and int.from_bytes(content[:8], "little") % 8 == 0


WRITE = """
import sys, torch
from pathlib import Path
from augment.runtime.tensors import write_tensors
write_tensors(Path(sys.argv[1]), {"latent": torch.zeros(3)}, {name: name for name in "abcdefgh"})
"""


def test_every_process_writes_the_same_bytes(tmp_path: Path) -> None:
    """Eight entries have 40,320 orders; the library chooses one at random in each process."""
    files = [tmp_path / name for name in ("one", "two")]
    for file in files:
        subprocess.run([sys.executable, "-c", WRITE, str(file)], check=True)
    assert files[0].read_bytes() == files[1].read_bytes()
