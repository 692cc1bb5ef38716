"""Is augmentation worth it for these images, and which? The search, its confirmation, the answer and its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.runtime.quiet import quietly
from augment.runtime.terminal import PlainConsole
from classify.advice.run import search_and_confirm
from classify.advice.settings import Advisor
from classify.report.advice_answer import answer, more_images, spent
from classify.report.advice_files import write_files
from classify.report.advice_page import write_page
from classify.report.verdict import Kind, decide


@dataclass(frozen=True)
class Advice:
    """An answer.

    Attributes:
        kind: `recipe`, if synthetic images are worth it; `policy`, if classical augmentation does as well; `unseen`, if
            no difference could be shown.
        answer: The same in words.
        recommended: Name of the candidate that is recommended.
        smallest_effect: The smallest gain in accuracy that could have been found, as a share; NaN if unknown.
        commands: What to run now, in order.
        page: The file `advice.html`.
    """

    kind: Kind
    answer: str
    recommended: str
    smallest_effect: float
    commands: tuple[str, ...]
    page: Path


@quietly()
def advise(
    settings: Advisor, given: Mapping[str, dict[str, Any]] | None = None, command: str = "classify.advise(...)"
) -> Advice:
    """Find out whether augmentation is worth it for a few-shot set, and which; no test image is touched.

    A search that was stopped goes on where it was when it is called again with the same settings; hours and candidates
    may be raised.

    Args:
        settings: What is searched, in what time, and where its files go.
        given: Class path and arguments of `backbone` and `source`, as a configuration names them, for the files that
            are recommended; by default they are described from the objects, a backbone without added LoRA weights and
            embeddings.
        command: How the advice was asked for, for the page.

    Returns:
        The answer.

    Raises:
        UserError: If a setting is wrong, cross-validation is impossible, or the time is too short for one candidate.

    Example:
        >>> import augment, classify
        >>> model = augment.Synthesizer(augment.StableDiffusion("digits"), augment.Inversion(steps=5), steps=5)
        >>> settings = classify.Advisor(
        ...     output="runs/advice",
        ...     synthesizer=model,
        ...     classifier={"name": "test_resnet", "lr": 0.003},
        ...     source=augment.Digits(),
        ...     shots=2,
        ...     repeats=1,
        ...     confirm=2,
        ...     steps=5,
        ...     candidates=2,
        ...     batches=classify.Batches(batch_size=16, image_size=32),
        ... )
        >>> advice = classify.advise(settings)
        >>> advice.kind in ("recipe", "policy", "unseen")
        True
    """
    findings = search_and_confirm(settings)
    chosen = findings.finalists
    verdict = decide(findings.confirmed, chosen.winner.name, chosen.simple.name)
    commands = write_files(findings, verdict.recommended, given or {})
    write_page(findings, verdict, commands, command)
    said, page = answer(findings, verdict), findings.folder.page("html")
    console = PlainConsole()
    for sentence in (
        said,
        more_images(verdict),
        spent(findings),
        *(f"next: {one}" for one in commands),
        f"page: {page}",
    ):
        console.print(sentence, soft_wrap=True)
    return Advice(verdict.kind, said, verdict.recommended, verdict.visible, tuple(commands), page)
