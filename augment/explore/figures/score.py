"""Figure `score`: do interpolated images still show what the prompt says, in CLIP's eyes?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.backbones.start import Start
from augment.explore.drawing import BLUE, GREEN, GREY, charts, save_table
from augment.explore.explorer import Explorer
from augment.explore.figure import Findings
from augment.explore.figures.grid import PATHS, along
from augment.images.pixels import to_uint8
from augment.runtime.network import one_try, out_of_reach

BATCH = 32

Judge = Callable[[Tensor, str], Tensor]
"""CLIP scores [B] of images [B, 3, H, W] in [-1, 1] with one prompt."""

COLOURS: dict[str, str] = dict(zip(PATHS, (GREY, BLUE, GREEN), strict=True))


@dataclass(frozen=True)
class Score:
    """InterpScore: the mean CLIP score of n images on the path between two noises, with the prompt.

    Args:
        images: Number of images on each path; the study takes 300.
        pairs: Number of pairs of noise latents.
        clip: CLIP with its image and text towers: a Hub name, or a local folder in transformers' format.
        prompt: The prompt of all images; by default that of the first class.
    """

    images: PositiveInt = 50
    pairs: PositiveInt = 2
    clip: str = "openai/clip-vit-large-patch14"
    prompt: str | None = None

    shows: ClassVar[str] = "InterpScore, the mean CLIP score along a path, for linear, normalised and spherical mixing"
    look_for: ClassVar[str] = (
        "whether the score dips in the middle; a high one proves little: in the source linear mixing, whose images are "
        "blurred, scored best, which its authors take as a doubt about CLIP scores"
    )
    origin: ClassVar[str] = "latent-space study, the interpolation score"

    def draw(self, explorer: Explorer) -> Findings:
        """Write score.png and score.csv."""
        judge = load_clip(self.clip, explorer.device)
        prompt = self.prompt or explorer.model.prompt_for(explorer.source.classes[0])
        p, q = explorer.noise(2 * self.pairs).chunk(2)
        gammas = torch.linspace(0, 1, self.images).tolist()
        scores: dict[str, Tensor] = {}
        rows: list[dict[str, Any]] = []
        for path in PATHS:
            latents = torch.stack([along(a, b, g, path) for a, b in zip(p, q, strict=True) for g in gammas])
            images = explorer.images(Start(latents, (prompt,) * len(latents)), f"score: {path}")
            scores[path] = judge(images, prompt).view(self.pairs, -1)  # [pairs, images]
            rows += [
                {"path": path, "pair": n + 1, "γ": round(gamma, 4), "CLIP score": float(value)}
                for n, line in enumerate(scores[path])
                for gamma, value in zip(gammas, line, strict=True)
            ]
        save_table(explorer.folder / "score.csv", rows)
        figure, (axes,) = charts(1, 6.4)
        for name, found in scores.items():
            axes.plot(gammas, found.mean(dim=0), color=COLOURS[name], label=f"{name}: {float(found.mean()):.2f}")
        axes.set(xlabel="γ", ylabel="CLIP score", title=f"mean of {self.pairs} pairs, prompt '{prompt}'")
        axes.legend(title="InterpScore", fontsize=9)
        figure.savefig(explorer.folder / "score.png")
        return Findings(
            ("score.png",), ("score.csv",), {"InterpScore": {k: round(float(v.mean()), 3) for k, v in scores.items()}}
        )


def load_clip(name: str, device: torch.device) -> Judge:
    """CLIP as a judge: 100 · cos(image, text), 0 where that is negative (Hessel et al. 2021, as the study writes it).

    Raises:
        UserError: If its weights cannot be had.
    """
    from transformers import CLIPModel, CLIPProcessor

    with one_try() as reachable:
        try:
            model = CLIPModel.from_pretrained(name).to(device).eval()
            processor = CLIPProcessor.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise out_of_reach("score.clip", name, reachable, error) from error

    @torch.inference_mode()
    def judge(images: Tensor, prompt: str) -> Tensor:
        scores = []
        for part in torch.split(to_uint8(images), BATCH):
            inputs = processor(text=[prompt], images=list(part), return_tensors="pt", padding=True, truncation=True)
            found = model(**inputs.to(device))  # both embeddings have norm 1
            scores.append((100 * found.image_embeds @ found.text_embeds.T).flatten().clamp_min(0).float().cpu())
        return torch.cat(scores)

    return judge
