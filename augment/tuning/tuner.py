"""A backbone in tuning: a Lightning module, one for all families, that trains what was added to the networks alone."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from jsonargparse.typing import NonNegativeInt
from torch import Tensor

from augment.backbones.base import Backbone, Precision
from augment.backbones.latent import LatentBackbone
from augment.backbones.start import Condition, Start, join
from augment.backbones.tuned import fill_in
from augment.errors import UserError
from augment.tuning.data import TuningData
from augment.tuning.lora import add_lora
from augment.tuning.objective import LEVELS, Draw, denoising_loss, draw_noise
from augment.tuning.prior import PriorImages
from augment.tuning.settings import TuningSettings
from augment.tuning.tokens import NewTokens

COLUMNS = 8
PREVIEW_STEPS = 25
PREVIEW_GUIDANCE = 3.0


class Tuner(L.LightningModule):
    """Fits a backbone to a few images per class.

    Args:
        backbone: The model; its own weights stay as they are.
        tuning: What is trained, and how.
        precision: What the networks compute in; what is trained stays float32.
        gradient_checkpointing: Compute activations twice instead of keeping them: slower, with less memory.
        seed: Draws images, noise and noise levels.

    Raises:
        UserError: If the family cannot be tuned.
    """

    objective = "loss"

    def __init__(
        self,
        backbone: Backbone,
        tuning: TuningSettings = TuningSettings(),  # noqa: B008  (frozen)
        precision: Precision = "fp32",
        gradient_checkpointing: bool = False,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, LatentBackbone):
            remedy = "train it on your images with `augment pretrain` instead"
            raise UserError("backbone", f"{type(backbone).__name__} reads no text and takes no LoRA weights", remedy)
        if "sample" not in backbone.abilities:
            problem = f"{type(backbone).__name__} edits images by instruction and learns no class from a few"
            raise UserError("backbone", problem, "tune a `backbone` that makes images from a prompt")
        self.strict_loading = False  # a checkpoint holds what is trained, not the backbone
        self.backbone = backbone
        self.checkpoint = backbone.checkpoint
        self.tuning = tuning
        self.prior = PriorImages(tuning.prior_images)
        self.precision: Precision = precision
        self.gradient_checkpointing = gradient_checkpointing
        self.seed = seed
        self.tokens: NewTokens | None = None
        self.seen = 0  # batches so far, of which each is drawn anew

    def prepare(self, data: TuningData) -> None:
        """Add what is to be trained; once, before the training.

        Args:
            data: Names the classes.
        """
        self.data = data
        self.backbone.cast(self.precision)
        self.backbone.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.tokens = NewTokens(self.backbone, data.classes) if "{token}" in self.tuning.prompt else None
            if self.tuning.lora is not None:
                add_lora(self.backbone, self.tuning.lora)
        if self.gradient_checkpointing:
            self.backbone.denoiser.enable_gradient_checkpointing()
        self.prompts = [fill_in(self.tuning.prompt, name) for name in data.classes]

    def configure_optimizers(self) -> Any:
        """AdamW, each group with a short warm-up and a cosine to 0."""
        own = [] if self.tokens is None else [self.tokens.vectors]
        added = [p for p in self.backbone.parameters() if p.requires_grad and all(p is not one for one in own)]
        rates = ((added, float(self.tuning.lr)), (own, float(self.tuning.token_lr)))
        optimizer = torch.optim.AdamW([{"params": part, "lr": rate} for part, rate in rates if part], weight_decay=1e-2)
        last = int(self.trainer.max_steps)
        schedule = get_cosine_schedule_with_warmup(optimizer, min(100, last // 10), last)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Networks in the mode that dropout-free inference has; the prior's latents, if there are to be any."""
        self.backbone.eval()
        self.schedule = self.backbone.schedule(min(LEVELS, self.backbone.train_steps // 2))
        plain = self.tuning.prompt.replace("{token}", "{class}")
        self.prior.make(self.backbone, [fill_in(plain, name) for name in self.data.classes])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of one batch, drawn by its number and this process's rank alone."""
        place = [self.seed, self.seen, self.global_rank]
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
        self.seen += 1
        tuning = self.tuning
        images, labels = self.data.pick(tuning.batch_size, tuning.crop, tuning.flip, generator)
        with torch.no_grad():
            x0 = self.backbone.encode(images.to(self.device))
        dropped = torch.rand(len(labels), generator=generator) < tuning.prompt_dropout
        prompts = ["" if drop else self.prompts[label] for drop, label in zip(dropped.tolist(), labels, strict=True)]
        loss = self._loss(x0, prompts, draw_noise(tuple(x0.shape), len(self.schedule.steps), generator))
        if self.prior.count:
            x0, prompts = self.prior.pick(tuning.batch_size, generator)
            draw = draw_noise(tuple(x0.shape), len(self.schedule.steps), generator)
            loss = loss + tuning.prior_weight * self._loss(x0.to(self.device), prompts, draw)
        self.log("loss", loss, prog_bar=True)
        return loss

    def _loss(self, x0: Tensor, prompts: Sequence[str], draw: Draw) -> Tensor:
        condition = self._condition(prompts)
        return denoising_loss(lambda z, time: self.backbone.predict(z, time, condition), self.schedule, x0, draw)

    def _condition(self, prompts: Sequence[str]) -> Condition:
        """Embeddings of the prompts, through which the text encoder's own training reaches."""
        if self.tokens is None and not (self.tuning.lora and self.tuning.lora.text_encoders):
            return self.backbone.condition(prompts)
        rows = {prompt: self.backbone.encode_prompt(prompt) for prompt in dict.fromkeys(prompts)}
        return join([rows[prompt] for prompt in prompts])

    @torch.no_grad()
    def preview(self, images: Tensor) -> tuple[str, Tensor]:
        """Images of the first classes, from the same noise at every call."""
        prompts = (self.prompts * COLUMNS)[: max(COLUMNS, min(len(self.prompts), 4 * COLUMNS))]
        noise = torch.randn(len(prompts), *self.backbone.latent_shape, generator=torch.Generator().manual_seed(0))
        self.backbone.forget_prompts()
        clean = self.backbone.denoise(Start(noise, tuple(prompts)), PREVIEW_STEPS, PREVIEW_GUIDANCE)
        self.backbone.forget_prompts()
        return "samples", self.backbone.decode(clean)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is trained and leave out the backbone's own weights."""
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: weights[name] for name in weights if name in trained}
        checkpoint["seen"] = self.seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the next batch."""
        self.seen = checkpoint["seen"]
