"""What is a tuning, and how is it used? Its README, for people who find the folder."""

from pathlib import Path

from augment.backbones.tuned import LORA, TOKENS, class_folders
from augment.runtime.foreign_text import code, markdown
from augment.tuning.data import TuningData
from augment.tuning.tuner import Tuner


def render(tuner: Tuner, data: TuningData, command: str) -> str:
    """The card as Markdown."""
    count = sum(parameter.numel() for parameter in tuner.parameters() if parameter.requires_grad)
    parts, tuning = [], tuner.tuning
    if tuning.lora is not None:
        where = "the denoiser and the text encoders" if tuning.lora.text_encoders else "the denoiser"
        parts.append(f"- `{LORA}`: LoRA weights of rank {tuning.lora.rank} for {where}, for `load_lora_weights`")
    if tuner.tokens is not None:
        words = ", ".join(code(name) for name in tuner.tokens.names)
        parts.append(f"- `{TOKENS}/`: new words for `load_textual_inversion`: {words}")
    lines = "\n".join(parts)
    made = f"\nMade by {code(command)}.\n" if command else ""
    images, classes = len(data.images), len(data.classes)
    return f"""# A tuning of {markdown(tuner.checkpoint.partition("@")[0])}

{images} real images of {classes} classes, {tuning.steps} optimizer steps, {count / 1e6:.3g} M trained weights.
Every image had the prompt {code(tuning.prompt)}.
{made}
## Files

{lines}

diffusers' own pipelines read both. `augment synthesize --tuned FOLDER` uses them in inversion and sampling; it takes
the few-shot set that is named, by hash, in `tuning.json`, and no other.
"""


def render_classes(tuner: Tuner, data: TuningData, command: str) -> str:
    """The card of a tuning for each class by itself, as Markdown."""
    parts = "\n".join(
        f"- `{part.relative_to(part.parents[1])}`: {markdown(name)}"
        for name, part in zip(data.classes, class_folders(Path(), data.classes), strict=True)
    )
    made = f"\nMade by {code(command)}.\n" if command else ""
    return f"""# Tunings of {markdown(tuner.checkpoint.partition("@")[0])} for {len(data.classes)} classes

Each class was tuned by itself, {tuner.tuning.steps} optimizer steps, with the prompt {code(tuner.tuning.prompt)}.
{made}
## Folders

{parts}

Each folder is a tuning whose files diffusers' own pipelines read. `augment synthesize --tuned FOLDER` gives every image
the weights of its class; it takes the few-shot set that is named, by hash, in `tuning.json`, and no other.
"""
