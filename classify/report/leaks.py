"""Which test images were nearly trained on? Sections of the report that name and show them."""

from collections.abc import Iterator

from classify.report.findings import Findings
from classify.report.pages import Picture, Section, Table, Value
from classify.studies.leaks import FIGURE, SEEN_FIGURE, SHOWN, kept_leaks, kept_seen


def leaks_section(findings: Findings) -> Iterator[Section]:
    """The near-duplicates that the study found before it began; nothing if there are none."""
    pairs = kept_leaks(findings.folder)
    if not pairs:
        return
    rows = tuple((Value(test, test), Value(shot, shot)) for test, shot in pairs)
    yield Section(
        "Test images that are nearly few-shot images",
        (
            f"{len(pairs)} found by perceptual hash: copies that were encoded anew, resized or slightly cropped. Where "
            "their few-shot image is trained on, the accuracy on them says little. Take them out, or run the study "
            "with --near_duplicates refuse to be stopped by them.",
        ),
        (("", Table(("test image", "few-shot image"), rows)),),
        (
            Picture(
                findings.folder.figure(FIGURE), "The first pairs", f"Few-shot above, test below; at most {SHOWN}.", True
            ),
        ),
    )


def seen_section(findings: Findings) -> Iterator[Section]:
    """The test images that the backbone was trained on, as far as that is known; nothing if there are none."""
    found = kept_seen(findings.folder)
    if not found:
        return
    rows = tuple((Value(test, test), Value(name, name) if name else Value("the same file", "")) for test, name in found)
    yield Section(
        "Test images that the backbone was trained on",
        (
            f"{len(found)} are among the images that the backbone was trained on, or copies of one that were encoded "
            "anew, resized or slightly cropped. Synthetic images may be copies of them, and the accuracy on them says "
            "little. Take them out, or pretrain without them.",
        ),
        (("", Table(("test image", "trained on"), rows)),),
        (Picture(findings.folder.figure(SEEN_FIGURE), "The first of them", f"At most {SHOWN}.", True),),
    )
