"""What do latents look like before and after they are mixed? Their norm and their channel bias."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

from augment.backbones.start import Start
from augment.synthesis.synthesizer import SynthesisBatch


@dataclass(frozen=True)
class LatentStatistics:
    """Of a set of latents at t = T, L = C * h * w.

    Attributes:
        norm: Mean of |z| / sqrt(L); 1 for N(0, I).
        norm_spread: Its standard deviation over the latents.
        bias: The largest magnitude among the channel means, each averaged over the latents: what mixtures amplify;
            0 for N(0, I).
        count: Latents.
    """

    norm: float
    norm_spread: float
    bias: float
    count: int


def summarize(norms: Tensor, channels: Tensor) -> LatentStatistics:
    """Statistics of M latents from their norms over sqrt(L) [M] and their channel means [M, C]."""
    bias = channels.mean(dim=0).abs().max()
    return LatentStatistics(float(norms.mean()), float(norms.std(correction=0)), float(bias), len(norms))


def norms_and_channels(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Of latents [M, C, h, w]: norms over sqrt(L) [M], channel means [M, C]."""
    return latents.square().mean(dim=(1, 2, 3)).sqrt(), latents.mean(dim=(2, 3))


class StartStatistics(L.Callback):
    """Watches the starts that go into the sampler; those that do not stand at t = T are left out.

    Args:
        starts: Batches of them to begin with.
    """

    def __init__(self, starts: Iterable[Start] = ()) -> None:
        self._seen: list[tuple[Tensor, Tensor]] = []
        for start in starts:
            self._watch(start)

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the batch's latents."""
        if isinstance(batch, SynthesisBatch):
            self._watch(batch.start)

    def _watch(self, start: Start) -> None:
        if start.strength == 1 and start.noise is None:
            self._seen.append(norms_and_channels(start.latent.cpu()))

    def summary(self) -> LatentStatistics | None:
        """Statistics of all starts that were seen; None if there were none."""
        if not self._seen:
            return None
        norms, channels = zip(*self._seen, strict=True)
        return summarize(torch.cat(norms), torch.cat(channels))
