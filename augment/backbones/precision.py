"""What may the networks compute in?"""

from typing import Literal

import torch

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,  # its products rounded by NVIDIA's tensor cores; elsewhere the same as fp32
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def allow_tf32(convolutions: bool, products: bool | None = None) -> tuple[bool, bool]:
    """Let NVIDIA's tensor cores round float32 inputs to TF32, or not; returns the switches as they were."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = convolutions if products is None else products
    return before
