"""What decides how a backbone is tuned, beside the backbone and the images? One frozen value."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveInt

from augment.errors import UserError
from augment.runtime.numbers import NonNegativeNumber, PositiveNumber
from augment.tuning.lora import Lora


@dataclass(frozen=True)
class TuningSettings:
    """How a backbone is fitted to a few-shot set.

    Args:
        prompt: The prompt of every image; `{class}` stands for the class's name, `{token}` for a new word that is
            learned for the class.
        scope: Tune on all classes together (`set`), told apart by their names or new words, or on each class by itself
            (`class`), with the same settings.
        lora: The weights that are added to the networks; null adds none.
        lr: Peak learning rate of the added weights.
        token_lr: Peak learning rate of the new words.
        steps: Optimizer steps.
        batch_size: Images in an optimizer step, on each device.
        prompt_dropout: Share of images that are trained with the empty prompt, so that guidance keeps its meaning.
        crop: Smallest share of an image's side that a random crop keeps; 1 crops nothing.
        flip: Mirror every other image, chosen at random.
        prior_images: Images per class from the backbone itself, made beforehand with the class's name for `{token}`,
            which it must not forget (prior preservation); 0 is without.
        prior_weight: Weight of their loss.
    """

    prompt: str = "a photo of a {token}"
    scope: Literal["set", "class"] = "set"
    lora: Lora | None = Lora()  # noqa: RUF009  (frozen)
    lr: PositiveNumber = 1e-4
    token_lr: PositiveNumber = 5e-4
    steps: PositiveInt = 500
    batch_size: PositiveInt = 4
    prompt_dropout: ClosedUnitInterval = 0.1
    crop: PositiveNumber = 1.0
    flip: bool = False
    prior_images: NonNegativeInt = 0
    prior_weight: NonNegativeNumber = 1.0

    def __post_init__(self) -> None:
        if self.crop > 1:
            raise UserError("tuning.crop", f"{self.crop:g} is no share of a side", "give a number up to 1")
        if self.lora is None and "{token}" not in self.prompt:
            raise UserError("tuning.lora", "is null and the prompt has no {token}: nothing is trained", "give one")

    def describe(self) -> dict[str, Any]:
        """All of it as JSON holds it."""
        described = asdict(self)
        if self.scope == "set":
            del described["scope"]  # as tunings were described before there was another
        return described
