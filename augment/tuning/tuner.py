"""A backbone in tuning: a Lightning module, one for all families, that trains what was added to the networks alone."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from augment.backbones.base import Backbone, Precision
from augment.backbones.latent import LatentBackbone
from augment.backbones.start import Condition, Start, join
from augment.backbones.tuned import fill_in
from augment.errors import UserError
from augment.runtime.numbers import NonNegativeNumber, PositiveNumber
from augment.tuning.data import TuningData
from augment.tuning.lora import Lora, add_lora
from augment.tuning.objective import LEVELS, Draw, denoising_loss, draw_noise
from augment.tuning.prior import PriorImages
from augment.tuning.tokens import NewTokens

COLUMNS = 8
PREVIEW_STEPS = 25
PREVIEW_GUIDANCE = 3.0


class Tuner(L.LightningModule):
    """Fits a backbone to a few images per class.

    Args:
        backbone: The model; its own weights stay as they are.
        prompt: The prompt of every image; `{class}` stands for the class's name, `{token}` for a new word that is
            learned for the class.
        lora: The weights that are added to the networks; null adds none.
        lr: Peak learning rate of the added weights.
        token_lr: Peak learning rate of the new words.
        batch_size: Images in an optimizer step, on each device.
        prompt_dropout: Share of images that are trained with the empty prompt, so that guidance keeps its meaning.
        prior_images: Images per class from the backbone itself, made beforehand with the class's name for `{token}`,
            which it must not forget (prior preservation); 0 is without.
        prior_weight: Weight of their loss.
        precision: What the networks compute in; what is trained stays float32.
        gradient_checkpointing: Compute activations twice instead of keeping them: slower, with less memory.
        seed: Draws images, noise and noise levels.

    Raises:
        UserError: If the family cannot be tuned, or nothing is left to train.
    """

    objective = "loss"

    def __init__(
        self,
        backbone: Backbone,
        prompt: str = "a photo of a {token}",
        lora: Lora | None = Lora(),  # noqa: B008  (frozen)
        lr: PositiveNumber = 1e-4,
        token_lr: PositiveNumber = 5e-4,
        batch_size: PositiveInt = 4,
        prompt_dropout: NonNegativeNumber = 0.1,
        prior_images: NonNegativeInt = 0,
        prior_weight: NonNegativeNumber = 1.0,
        precision: Precision = "fp32",
        gradient_checkpointing: bool = False,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, LatentBackbone):
            remedy = "train it on your images with `augment pretrain` instead"
            raise UserError("backbone", f"{type(backbone).__name__} reads no text and takes no LoRA weights", remedy)
        if lora is None and "{token}" not in prompt:
            raise UserError("model.lora", "is null and the prompt has no {token}: nothing is trained", "give one")
        self.strict_loading = False  # a checkpoint holds what is trained, not the backbone
        self.backbone = backbone
        self.checkpoint = backbone.checkpoint
        self.prompt = prompt
        self.lora = lora
        self.learning_rates = float(lr), float(token_lr)
        self.batch_size = batch_size
        self.prompt_dropout = float(prompt_dropout)
        self.prior = PriorImages(prior_images, float(prior_weight))
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
            self.tokens = NewTokens(self.backbone, data.classes) if "{token}" in self.prompt else None
            if self.lora is not None:
                add_lora(self.backbone, self.lora)
        if self.gradient_checkpointing:
            self.backbone.denoiser.enable_gradient_checkpointing()
        self.prompts = [fill_in(self.prompt, name) for name in data.classes]

    def configure_optimizers(self) -> Any:
        """AdamW, each group with a short warm-up and a cosine to 0."""
        own = [] if self.tokens is None else [self.tokens.vectors]
        added = [p for p in self.backbone.parameters() if p.requires_grad and all(p is not one for one in own)]
        rates = zip((added, own), self.learning_rates, strict=True)
        optimizer = torch.optim.AdamW([{"params": part, "lr": rate} for part, rate in rates if part], weight_decay=1e-2)
        last = int(self.trainer.max_steps)
        schedule = get_cosine_schedule_with_warmup(optimizer, min(100, last // 10), last)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Networks in the mode that dropout-free inference has; the prior's latents, if there are to be any."""
        self.backbone.eval()
        self.schedule = self.backbone.schedule(min(LEVELS, self.backbone.train_steps // 2))
        names = self.data.classes
        self.prior.make(self.backbone, [fill_in(self.prompt.replace("{token}", "{class}"), name) for name in names])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of one batch, drawn by its number and this process's rank alone."""
        place = [self.seed, self.seen, self.global_rank]
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
        self.seen += 1
        images, labels = self.data.pick(self.batch_size, generator)
        with torch.no_grad():
            x0 = self.backbone.encode(images.to(self.device))
        dropped = torch.rand(len(labels), generator=generator) < self.prompt_dropout
        prompts = ["" if drop else self.prompts[label] for drop, label in zip(dropped.tolist(), labels, strict=True)]
        loss = self._loss(x0, prompts, draw_noise(tuple(x0.shape), len(self.schedule.steps), generator))
        if self.prior.count:
            x0, prompts = self.prior.pick(self.batch_size, generator)
            draw = draw_noise(tuple(x0.shape), len(self.schedule.steps), generator)
            loss = loss + self.prior.weight * self._loss(x0.to(self.device), prompts, draw)
        self.log("loss", loss, prog_bar=True)
        return loss

    def _loss(self, x0: Tensor, prompts: Sequence[str], draw: Draw) -> Tensor:
        condition = self._condition(prompts)
        return denoising_loss(lambda z, time: self.backbone.predict(z, time, condition), self.schedule, x0, draw)

    def _condition(self, prompts: Sequence[str]) -> Condition:
        """Embeddings of the prompts, through which the text encoder's own training reaches."""
        if self.tokens is None and not (self.lora and self.lora.text_encoders):
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

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What is trained, by name, for the card."""
        return {"backbone": self.backbone} | ({} if self.tokens is None else {"tokens": self.tokens})
