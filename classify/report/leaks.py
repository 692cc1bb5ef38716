"""Which test images were nearly few-shot images? A section of the report that names and shows them."""

from collections.abc import Iterator

from classify.report.findings import Findings
from classify.report.pages import Picture, Section, Table, Value
from classify.studies.leaks import FIGURE, SHOWN, kept_leaks


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
