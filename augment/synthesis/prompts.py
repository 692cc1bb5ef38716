"""What is the model told of each image? One text, several, or captions of its class, crossed with shared contexts."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.backbones.tuned import fill_in
from augment.errors import UserError
from augment.images.few_shot import FewShotSet
from augment.images.sources.table import read_csv
from augment.mix.draws import Draws
from augment.runtime.yaml_text import read_texts

Texts = tuple[str, ...]

SUFFIXES = frozenset({".csv", ".yaml", ".yml"})
"""A prompt with one of these endings is the file that holds the prompts."""


@dataclass(frozen=True)
class Prompts:
    """Every text that a dataset's images may be made with.

    Attributes:
        texts: The same for all classes, with `{class}` for the class's name and `{token}` for its new word in a tuned
            backbone; or by class, as captions.
        contexts: What may follow any text, such as "in a forest": the same for all classes, so that the background
            does not tell the class (the context bank of BOB, CVPR 2026). Every text is crossed with every context.
        inversion: What real images are inverted with; None is the class's first text, without a context.
    """

    texts: Texts | Mapping[str, Texts]
    contexts: Texts = ()
    inversion: str | None = None

    def of(self, class_name: str) -> Iterator[str]:
        """All prompts that an image of this class may have."""
        return (self._prompt(class_name, n) for n in range(self._count(class_name)))

    def draw(self, class_name: str, draws: Draws) -> str:
        """The prompt of one image, by the image's own stream."""
        return self._prompt(class_name, draws.prompt(self._count(class_name)))

    def for_inversion(self, class_name: str) -> str:
        """The prompt that real images of this class are inverted with."""
        return fill_in(self._texts(class_name)[0] if self.inversion is None else self.inversion, class_name)

    def _texts(self, class_name: str) -> Texts:
        return self.texts[class_name] if isinstance(self.texts, Mapping) else self.texts

    def _count(self, class_name: str) -> int:
        return len(self._texts(class_name)) * max(1, len(self.contexts))

    def _prompt(self, class_name: str, number: int) -> str:
        text, context = divmod(number, max(1, len(self.contexts)))
        words = [self._texts(class_name)[text], *self.contexts[context : context + 1]]
        return fill_in(" ".join(words), class_name)

    @property
    def all(self) -> Texts:
        """All texts as they were given, those of all classes."""
        given = self.texts.values() if isinstance(self.texts, Mapping) else [self.texts]
        return tuple(text for texts in given for text in texts)

    @property
    def varied(self) -> bool:
        """Whether images of one class may have different prompts."""
        counts = map(len, self.texts.values()) if isinstance(self.texts, Mapping) else [len(self.texts)]
        return max(counts) * len(self.contexts or ("",)) > 1

    @property
    def tell_class(self) -> bool:
        """Whether an image's prompt says which class it is of."""
        return isinstance(self.texts, Mapping) or all("{class}" in text or "{token}" in text for text in self.texts)

    def describe(self) -> dict[str, Any]:
        """As a recipe holds them: one text as a text, and only what was given."""
        texts: Any = self.texts
        if isinstance(self.texts, Mapping):
            texts = {name: list(captions) for name, captions in sorted(self.texts.items())}
        elif len(self.texts) == 1:
            (texts,) = self.texts
        return (
            {"prompt": texts if isinstance(texts, str | dict) else list(texts)}
            | ({"contexts": list(self.contexts)} if self.contexts else {})
            | ({} if self.inversion is None else {"inversion_prompt": self.inversion})
        )

    def check(self, few_shot: FewShotSet) -> None:
        """Refuse captions that lack a class of the few-shot set.

        Raises:
            UserError: Naming the classes, up to three of them.
        """
        if not isinstance(self.texts, Mapping):
            return
        lacking = [name for label in few_shot.labels if (name := few_shot.classes[label]) not in self.texts]
        if lacking:
            names = ", ".join(map(repr, lacking[:3])) + (", …" if len(lacking) > 3 else "")
            problem = f"there are no captions of {len(lacking)} classes: {names}"
            raise UserError("model.prompt", problem, "add them to the file, or give one text with {class}")


def read_prompts(prompt: str | Sequence[str], contexts: str | Sequence[str], inversion: str | None) -> Prompts:
    """The prompts that these options give.

    Args:
        prompt: One text, several, or a file: YAML with a list for all classes or with the captions of each, or CSV with
            the columns `class` and `caption`.
        contexts: One, several, or a YAML file with a list.
        inversion: One text, or None.

    Raises:
        UserError: If a file cannot be read or holds something else, or there is no text.
    """
    texts = _read("model.prompt", prompt)
    around = _read("model.contexts", contexts)
    if isinstance(around, Mapping):
        raise UserError(
            "model.contexts", f"'{contexts}' has contexts by class", "give a list, the same for all classes"
        )
    if not texts or (isinstance(texts, Mapping) and not all(texts.values())):
        raise UserError("model.prompt", "there is a list without a prompt", "give at least one text")
    return Prompts(texts, around, inversion)


def _read(argument: str, given: str | Sequence[str]) -> Texts | dict[str, Texts]:
    if not isinstance(given, str):
        return tuple(given)
    path = Path(given)
    if path.suffix.lower() not in SUFFIXES:
        return (given,)
    try:
        found = _read_captions(path) if path.suffix.lower() == ".csv" else read_texts(path)
    except FileNotFoundError as error:
        raise UserError(argument, f"there is no file '{path}'", "give one, or the text itself") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(argument, f"'{path}' cannot be read ({error})", "save it as UTF-8, or give a text") from error
    except ValueError as error:
        raise UserError(argument, str(error), "mend the file") from error
    texts = [found] if isinstance(found, str) else found
    if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
        return tuple(texts)
    if isinstance(found, dict):
        captions = {name: [value] if isinstance(value, str) else value for name, value in found.items()}
        if all(isinstance(few, list) and all(isinstance(text, str) for text in few) for few in captions.values()):
            return {str(name): tuple(few) for name, few in captions.items()}
    problem = f"'{path}' is neither a list of texts nor has captions by class"
    raise UserError(argument, problem, "write `class: [caption, caption]`, one class a line")


def _read_captions(path: Path) -> dict[str, list[str]]:
    """The captions of each class in a CSV file."""
    captions: dict[str, list[str]] = {}
    for row in read_csv(path):
        if not row.get("class") or not row.get("caption"):
            raise ValueError(f"'{path}' has a row without the columns `class` and `caption`: {dict(row)}")
        captions.setdefault(row["class"], []).append(row["caption"])
    return captions
