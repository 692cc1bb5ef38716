"""What is every diffusion backbone to the outside, whatever its family? B images; `latent_shape` = (C, h, w)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from augment.backbones.abilities import Ability, check_inversion, check_null_text, check_sampler
from augment.backbones.guidance import Guide, guided, optimised
from augment.backbones.inversions import Forward, InversionKind, invert, null_text
from augment.backbones.precision import DTYPES, Precision, allow_tf32
from augment.backbones.samplers import first_order, midpoint, multistep
from augment.backbones.schedule import Schedule
from augment.backbones.start import Condition, Noise, Sampler, SamplerKind, Start, by_strength, steps_left
from augment.backbones.tuned import Tuned

__all__ = ["DTYPES", "Backbone", "Condition", "Noise", "Precision", "Sampler", "Start", "allow_tf32"]

PromptKind = Literal["text", "class", "none"]


class Backbone(nn.Module, ABC):
    """A pretrained diffusion model with its autoencoder, text encoder and schedule.

    Latents cross this interface in float32, in any precision; the loops over the schedule are the same for all.

    Attributes:
        identity: Names the exact weights: latents inverted with one identity are never used with another.
        folder: Where the weights lie; None if they were never in a file.
        image_size: Height and width of the images, in pixels.
        latent_shape: (C, h, w) of one latent.
        dtype: What the networks compute in.
        inversions, samplers, abilities: What the family supports.
        train_steps: T, the time at the noisiest end of the schedule.
        prompts: What a prompt tells the network: any text, the name of a class, or nothing.
        tuned: What `augment tune` added, if anything.
        compiled: Whether the denoiser has been compiled since its weights were loaded.
        evaluations: Images that the denoiser has seen so far, each guidance branch counted: what costs time.
        offloaded: Whether networks that are not in use wait in host memory; of no effect without an accelerator.
    """

    identity: str
    folder: Path | None = None
    image_size: int
    latent_shape: tuple[int, int, int]
    dtype: torch.dtype = torch.float32
    inversions: tuple[InversionKind, ...]
    samplers: tuple[SamplerKind, ...]
    abilities: tuple[Ability, ...] = ("sample",)
    train_steps: int = 1000
    prompts: PromptKind = "text"
    tuned: Tuned | None = None
    compiled: bool = False
    evaluations: int = 0
    offloaded: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.networks = nn.ModuleList()
        self._pipeline: Any = None
        self._place = torch.device("cpu")

    @property
    def pipeline(self) -> Any:
        """diffusers' pipeline with all networks, read from disk when it is first needed."""
        if self._pipeline is None:
            self.load()
        return self._pipeline

    def load(self) -> None:
        """Read the weights from disk in the precision that they run in, in place of those that are there."""
        self._place = self.device
        self._pipeline, self.networks = None, nn.ModuleList()  # not both in memory at once
        with torch.inference_mode(False):  # gradients may have to pass through them later
            self._pipeline = self.read(self.dtype)
            parts = [part for part in self._pipeline.components.values() if isinstance(part, nn.Module)]
            self.networks = nn.ModuleList(parts).eval().requires_grad_(False).to(self._place)
        self.compiled = False

    def cast(self, precision: Precision) -> None:
        """Run the networks in this precision from now on; weights that are in another one are read anew."""
        dtype = DTYPES[precision]
        if self._pipeline is None or self.dtype != dtype:
            self.dtype = dtype
            self.load()

    def keep(self, prompts: Iterable[str]) -> None:
        """Encode these prompts and free the text encoders; another prompt costs that the weights are read again."""

    def finish_encoding(self) -> None:
        """Give back the memory of the image encoder; it is read again if an image comes all the same."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the networks; those that have not been read yet will be read to there."""
        self._place = fn(torch.empty(0, device=self._place)).device
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def prepare(self, compile: bool) -> None:
        """Lay the networks out as their device likes best, and compile the denoiser; before each stage alike."""
        if self._pipeline is None:
            self.load()
        if self.device.type == "cuda":
            with torch.inference_mode(False):  # as in `load`
                self.to(memory_format=torch.channels_last)
        if compile and not self.compiled:
            self.compile_denoiser()
            self.compiled = True

    def compile_denoiser(self) -> None:
        """Compile the denoiser's repeated blocks in place: the first calls are slow, all others faster."""
        repeated = getattr(self.denoiser, "_repeated_blocks", None)
        self.denoiser.compile_repeated_blocks() if repeated else self.denoiser.compile()

    @property
    @abstractmethod
    def denoiser(self) -> Any:
        """The network that predicts noise or velocity."""

    @abstractmethod
    def read(self, dtype: torch.dtype) -> Any:
        """The checkpoint as diffusers' pipeline, with weights in this precision."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] to clean latents z_0 [B, C, h, w]."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Clean latents z_0 [B, C, h, w] to images [B, 3, H, W] in [-1, 1]."""

    @abstractmethod
    def condition(self, prompts: Sequence[str]) -> Condition:
        """What the prompts tell the network, one row each."""

    def unconditional(self, prompts: Sequence[str]) -> Condition:
        """What stands for "no prompt" beside these, for guidance to lead away from: the empty one, by default."""
        return self.condition([""] * len(prompts))

    @abstractmethod
    def schedule(self, steps: int) -> Schedule:
        """The noise levels of the deterministic sampler."""

    @abstractmethod
    def predict(self, z: Tensor, time: float | Tensor, condition: Condition) -> Tensor:
        """The network's output for z [B, C, h, w] at one time, or at one for each [B]; float32 like z."""

    @property
    @abstractmethod
    def scheduler_config(self) -> Mapping[str, Any]:
        """The configuration of the checkpoint's own scheduler."""

    @property
    def device(self) -> torch.device:
        """Where the networks lie, or will be read to."""
        return next((parameter.device for parameter in self.parameters()), self._place)

    def invert(
        self,
        latents: Tensor,
        prompts: Sequence[str],
        steps: int,
        guidance: float,
        kind: InversionKind = "ddim",
        tolerance: float = 1e-5,
        iterations: int = 10,
        forward: Forward | None = None,
    ) -> Noise:
        """Clean latents z_0 to noise z_T by running the deterministic sampler backwards.

        Args:
            latents: z_0 [B, C, h, w].
            prompts: One per latent.
            steps: Steps of the schedule.
            guidance: Guidance of the inversion; `null-text` and `negative-prompt` invert without guidance and use it
                for the way back.
            kind: The algorithm.
            tolerance, iterations: See `fixed_point` and `null_text`.
            forward: Noise that takes the place of the first steps.

        Raises:
            UserError: If the family does not support the kind.
        """
        self.check_inversion(kind)
        schedule, z = self.schedule(steps), latents.to(self.device, torch.float32)
        if kind == "null-text":
            walk = partial(null_text, schedule=schedule, tolerance=tolerance, iterations=iterations, forward=forward)
            check_null_text(self.dtype, guidance)
            with torch.inference_mode(False), torch.no_grad():
                condition, empty = self.condition(prompts).clone(), self.unconditional(prompts).clone()
                return optimised(self._counted, z.clone(), condition, empty, guidance, walk)
        condition = self.condition(prompts)
        negative = self.unconditional(prompts) if guidance != 1 and kind != "negative-prompt" else None
        network = partial(guided, self._counted, condition=condition, unconditional=negative, guidance=guidance)
        return Noise(*invert(kind, network, schedule, z, tolerance, iterations, forward))

    def denoise(self, start: Start, steps: int, guidance: float, sampler: Sampler = Sampler()) -> Tensor:  # noqa: B008  (frozen)
        """A start to clean latents z_0 [B, C, h, w], from the start's place in the schedule.

        Args:
            start: Where to begin.
            steps: Steps of the whole schedule.
            guidance: Classifier-free guidance; 1 is without.
            sampler: How steps are made.

        Raises:
            ValueError: If fresh noise is asked for (eta > 0) from a start without seeds.
        """
        self.check_sampler(sampler)
        if sampler.eta > 0 and start.seeds is None:
            raise ValueError("eta > 0 needs a seed per latent in the start")
        if isinstance(start.strength, tuple):
            clean = torch.empty(start.latent.shape, device=self.device)
            for rows, part in by_strength(start, start.strength):
                clean[rows] = self.denoise(part, steps, guidance, sampler)
            return clean
        left = steps_left(steps, start.strength)
        z = start.latent.to(self.device, torch.float32)
        noise = None if start.noise is None else start.noise.to(self.device, torch.float32)
        network = partial(self._guide(start, guidance, sampler.guidance_interval).output, self._counted)
        if sampler.kind == "dpm++":
            return multistep(network, self.scheduler_config, steps, z, noise, left)
        if sampler.kind == "midpoint":
            return midpoint(network, self.schedule(steps), z, noise, left)
        return first_order(network, self.schedule(steps), z, noise, left, sampler.eta, start.seeds or ())

    def check_inversion(self, kind: InversionKind) -> None:
        """Raise a UserError if the family does not support the inversion."""
        check_inversion(type(self).__name__, self.inversions, kind)

    def check_sampler(self, sampler: Sampler) -> None:
        """Raise a UserError if the family does not support the sampler."""
        check_sampler(type(self).__name__, self.samplers, sampler)

    def _counted(self, z: Tensor, time: float, condition: Condition) -> Tensor:
        self.evaluations += len(z)
        return self.predict(z, time, condition)

    def _guide(self, start: Start, guidance: float, interval: tuple[float, float]) -> Guide:
        """The start's prompts as conditions, and its shares of the schedule as times."""
        first = self.condition(start.prompts)
        late = first if start.late_prompts is None else self.condition(start.late_prompts)
        negative = None
        if guidance != 1:
            negative = self.condition(start.negative) if start.negative else self.unconditional(start.prompts)
        switch, low, high = (share * self.train_steps for share in (1 - start.switch, *interval))
        return Guide(first, late, switch, negative, start.unconditional, guidance, low, high)
