"""What a study says, from hand-made cells."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from augment.errors import UserError
from augment.measure.adequacy import Adequacy
from classify.report.answers import answer, headline
from classify.report.findings import Findings, read_findings
from classify.report.measures import measures_tables
from classify.report.pages import Page, Picture, Section, Table, Value, render
from classify.report.report import write_report
from classify.report.sections import classes_section, correlation, latents_section
from classify.report.statistics import Comparison, Estimate, Spread, estimate
from classify.report.summary import Block, Line, Summary, class_differences, summarize
from classify.report.tables import accuracy_table, pairs_table, scores_table
from classify.report.training import training_section
from classify.report.wording import number, p_value, percent, points, rough, seconds
from classify.studies.results_folder import LastRun, StudyFolder


def cell(row: str, seed: int, top1: float, classifier: str = "resnet", shots: int = 5, **more: Any) -> dict[str, Any]:
    made = row != "none"
    return {
        "key": "k",
        "row": row,
        "method": row,
        "classifier": classifier,
        "shots": shots,
        "seed": seed,
        "top1": top1,
        "top5": 0.9,
        "per_class": {"cat": top1, "dog": 0.5},
        "dataset": f"{row}-{seed}".replace("/", "-") if made else None,
        "set": {"fd_tiny": 10.0 + seed, "recognised_tiny": 0.8} if made else {},
        "caveats": [],
        "seconds": {"synthesize": 4.0 if made else 0.0, "train": 2.0, "test": 0.5},
    } | more


CELLS = [
    *(cell("none", seed, top1) for seed, top1 in enumerate((0.80, 0.70, 0.90))),
    *(cell("fix/0", seed, top1) for seed, top1 in enumerate((0.78, 0.72, 0.88))),
    *(cell("fix/chm", seed, top1) for seed, top1 in enumerate((0.85, 0.76, 0.951))),
]


def findings(folder: Path, cells: list[dict[str, Any]], adequacy: Adequacy | None = None) -> Findings:
    """What would be read from a folder that holds these cells."""
    described = {
        "steps": 120,
        "classifiers": {"resnet": {}},
        "rows": {row: {"batches": {"batch_size": 64}} for row in dict.fromkeys(cell["row"] for cell in cells)},
        "source": {"sha256": "ab"},
        "versions": {"torch": "2"},
    }
    run = LastRun("classify study", None, tuple(f"cell-{n}" for n in range(len(cells))), 0, 5)
    return Findings(StudyFolder(folder), run, described, cells, adequacy)


def written(folder: Path, cells: list[dict[str, Any]], adequacy: Adequacy | None = None) -> StudyFolder:
    """The same as a folder on disk."""
    folder.mkdir(exist_ok=True)
    found = findings(folder, cells, adequacy)
    found.folder.write_description(found.config)
    found.folder.write_last_run(found.run)
    for name, results in zip(found.run.cells, cells, strict=True):
        found.folder.write_cell(name, results)
    if adequacy is not None:
        found.folder.write_adequacy(adequacy)
    Image.new("RGB", (8, 8)).save(folder / found.folder.figure("real"))
    return found.folder


def block(cells: list[dict[str, Any]], reference: str | None = None) -> Block:
    (found,) = summarize(cells, reference).blocks
    return found


def test_means_and_paired_differences_of_hand_made_cells() -> None:
    found = block(CELLS, "fix/0")
    lines = {line.row: line for line in found.lines}
    assert list(lines) == ["none", "fix/0", "fix/chm"]
    assert (found.seeds, found.name) == (3, "resnet, 5 shots")
    assert lines["none"].accuracy == estimate([0.80, 0.70, 0.90])
    assert lines["none"].gain is None
    assert lines["none"].measures == {}
    assert lines["fix/0"].gain.change.mean == pytest.approx((-0.02 + 0.02 - 0.02) / 3)
    assert lines["fix/chm"].gain.change.half == pytest.approx(estimate([0.05, 0.06, 0.051]).half)
    assert lines["fix/chm"].versus.change.mean == pytest.approx((0.07 + 0.04 + 0.071) / 3)
    assert lines["none"].versus.change.mean == pytest.approx(0.02 / 3)
    assert lines["fix/0"].versus is None
    assert lines["fix/chm"].measures["fd_tiny"].mean == pytest.approx(11)
    assert lines["fix/chm"].scores["top5"].mean == pytest.approx(0.9)
    assert [(line.synthesis, line.training) for line in found.lines] == [
        (Spread(0, 0), Spread(2, 0)),
        (Spread(4, 0), Spread(2, 0)),
        (Spread(4, 0), Spread(2, 0)),
    ]


def test_p_values_are_corrected_within_a_table() -> None:
    from scipy import stats

    lines = {line.row: line for line in block(CELLS).lines}
    none = [0.80, 0.70, 0.90]
    plain = stats.ttest_rel([0.78, 0.72, 0.88], none).pvalue
    adjusted = stats.ttest_rel([0.85, 0.76, 0.951], none).pvalue
    assert lines["fix/chm"].gain.p == pytest.approx(adjusted)
    assert lines["fix/chm"].gain.adjusted == pytest.approx(2 * adjusted)
    assert lines["fix/0"].gain.adjusted == pytest.approx(max(plain, 2 * adjusted))


def test_the_pairs_of_mean_adjustment() -> None:
    nearer = [c | {"set": {"fd_tiny": 8.0 + 2 * c["seed"]}} if c["row"] == "fix/chm" else c for c in CELLS]
    found = block(nearer)
    (pair,) = found.pairs
    assert (pair.adjusted, pair.plain) == ("fix/chm", "fix/0")
    assert pair.distances["fd_tiny"].change == estimate([-2, -1, 0])
    assert [shown.text for shown in pairs_table(found).rows[0]][4] == "-1.00 ± 2.48"
    assert pair.comparison.change.mean == pytest.approx((0.07 + 0.04 + 0.071) / 3)


def test_blocks_are_kept_apart_and_ordered() -> None:
    others = [cell("none", 0, 0.5, "vit", 1), cell("none", 0, 0.4, "resnet", 10), cell("none", 0, 0.3, "resnet", 1)]
    summary = summarize([*CELLS, *others])
    assert [found.name for found in summary.blocks] == [
        "resnet, 1 shot",
        "resnet, 5 shots",
        "resnet, 10 shots",
        "vit, 1 shot",
    ]
    assert [found.lines[0].accuracy.mean for found in summary.blocks] == pytest.approx([0.3, 0.8, 0.4, 0.5])


def test_order_of_the_cells_does_not_change_the_pairs() -> None:
    shuffled = [CELLS[n] for n in (8, 0, 4, 2, 6, 1, 5, 3, 7)]
    expected = {line.row: line.gain for line in block(CELLS).lines}
    found = {line.row: line.gain for line in block(shuffled).lines}
    assert found["fix/chm"] == expected["fix/chm"]


def test_only_common_seeds_are_paired() -> None:
    gain = {line.row: line.gain for line in block(CELLS[:-1]).lines}["fix/chm"]
    assert gain.change.count == 2
    assert gain.change.mean == pytest.approx(0.055)


def test_rows_without_a_common_seed_are_not_compared() -> None:
    found = block([cell("none", 0, 0.8), cell("fix/0", 1, 0.7)])
    assert [line.gain for line in found.lines] == [None, None]


def test_without_a_baseline_there_are_no_gains() -> None:
    summary = summarize([c for c in CELLS if c["row"] != "none"])
    assert [line.gain for line in summary.blocks[0].lines] == [None, None]
    assert len(summary.blocks[0].pairs) == 1
    assert headline(summary) == "No row is named none, so nothing is compared with real images alone."
    alone = summarize([c for c in CELLS if c["row"] == "none"])
    assert headline(alone) == "Real images alone (none) are the only row: nothing is compared."


def test_the_answer_names_what_is_significant() -> None:
    summary = summarize(CELLS)
    assert headline(summary).startswith("Better than real images alone: fix/chm (+5.4 ± 1.4 points); 3 seeds reliably")
    told = answer(summary.blocks[0])
    assert told.startswith("resnet, 5 shots: highest mean accuracy fix/chm, 85.4 ±")
    assert "over 3 seeds (none: 80.0 ±" in told
    assert "Significantly better than none, of 2: fix/chm (+5.4 ± 1.4); significantly worse: no row." in told
    assert "fix/chm against fix/0 +6.0 ±" in told


def test_the_answer_says_so_when_nothing_is_significant() -> None:
    summary = summarize([c for c in CELLS if c["row"] != "fix/chm"])
    assert headline(summary).startswith("The one comparison shows no difference from real images alone; 3 seeds")
    assert "No difference from none is significant among 1." in answer(summary.blocks[0])


def test_a_row_with_fewer_seeds_is_not_called_the_best() -> None:
    """Its mean is of other seeds, and one seed is no test."""
    found = block([*CELLS, cell("lucky", 2, 0.99)])
    assert found.best.row == "fix/chm"
    assert "highest mean accuracy fix/chm, 85.4 ± 23.7 % over 3 seeds" in answer(found)
    assert "Significantly better than none, of 2: fix/chm" in answer(found)
    assert "Not among them, run with fewer seeds: lucky." in answer(found)


def test_one_seed_claims_nothing() -> None:
    summary = summarize([c for c in CELLS if c["seed"] == 0])
    assert headline(summary) == "With one seed no difference can be told from chance: give --seeds 10."
    assert "One seed tells nothing about the 2 differences from none." in answer(summary.blocks[0])
    assert "nan" not in answer(summary.blocks[0])


def test_differences_by_class_are_paired_by_seed(tmp_path: Path) -> None:
    baseline, changes = class_differences(CELLS)
    assert baseline.loc["none"].to_dict() == pytest.approx({"cat": 0.8, "dog": 0.5})
    assert changes.loc["fix/chm"].to_dict() == pytest.approx({"cat": 0.161 / 3, "dog": 0})
    (section,) = classes_section(findings(tmp_path, CELLS))
    ((_, table),) = section.tables
    assert [[shown.text for shown in row] for row in table.rows] == [
        ["none, %", "80.0", "50.0"],
        ["fix/0", "-0.7", "+0.0"],
        ["fix/chm", "+5.4", "+0.0"],
    ]
    assert table.rows[2][1].shade == 1


def test_classes_may_have_any_name() -> None:
    cells = [c | {"per_class": {"row": c["top1"], "seed": 0.5}} for c in CELLS]
    baseline, changes = class_differences(cells)
    assert baseline.loc["none"].to_dict() == pytest.approx({"row": 0.8, "seed": 0.5})
    assert changes.loc["fix/chm"].to_dict() == pytest.approx({"row": 0.161 / 3, "seed": 0})


def test_tables_show_every_measure_there_is() -> None:
    summary = summarize([*CELLS, cell("sdedit", 0, 0.5, set={"kid": 0.1})], "fix/0")
    tables = dict(measures_tables(summary.blocks[0]))
    assert [table.head for table in tables.values()] == [
        ("row", "↑ recognised_tiny"),
        ("row", "↓ fd_tiny"),
        ("row", "kid"),
    ]
    assert [[shown.text for shown in table.rows[-1]] for table in tables.values()] == [
        ["sdedit", "–"],
        ["sdedit", "–"],
        ["sdedit", "0.1"],
    ]
    assert tables["How near to the real images? (tiny)"].notes == (
        "↓ fd_tiny: Fréchet distance of all features to those of the real images.",
    )
    scores = scores_table(summary.blocks[0], summary)
    assert scores.head == ("row", "↑ top-5, %")
    assert [shown.text for shown in scores.rows[0]] == ["none", "90.0 ± 0.0"]
    accuracy = accuracy_table(summary.blocks[0], "fix/0")
    assert accuracy.head == ("row", "top-1, %", "against none, points", "p", "against fix/0, points", "p")
    assert all(len(row) == 6 for row in accuracy.rows)
    assert [row[0].text for row in accuracy.rows if row[2].strong] == ["fix/chm"]


def test_latents_are_read_from_the_notes_of_the_largest_shots(tmp_path: Path) -> None:
    import json

    def note(path: Path, norm: float) -> None:
        path.parent.mkdir(exist_ok=True)
        seen = {"norm": norm, "norm_spread": 0.1, "bias": 0.2, "count": 4}
        path.write_text(json.dumps({"latents": seen, "new": 4, "seconds": 10 * norm, "psnr": 30.0}))

    cells = [cell("fix/0", seed, 0.5) for seed in (0, 1)] + [cell("sdedit", 0, 0.5), cell("fix/0", 0, 0.5, shots=1)]
    for seed in (0, 1):
        note(tmp_path / "inversions" / f"inverted-shots5-seed{seed}.json", 0.7 + 0.2 * seed)
        note(tmp_path / "sets" / f"fix-0-{seed}.json", 1.0)
    (tmp_path / "sets" / "sdedit-0.json").write_text('{"latents": null}')  # does not start at t = T
    (section,) = latents_section(findings(tmp_path, cells))
    ((_, table), (_, costs)) = section.tables
    assert [[shown.text.split(" ±")[0] for shown in row] for row in costs.rows] == [["inverted", "4", "8.0", "30"]]
    assert [[shown.text.split(" ±")[0] for shown in row] for row in table.rows] == [
        ["sources (inverted images)", "0.80", "0.1", "0.2"],
        ["fix/0", "1", "0.1", "0.2"],
    ]


def test_numbers_as_people_read_them() -> None:
    sure, single = Estimate(0.8567, 0.0123, 5), Estimate(0.8567, math.nan, 1)
    assert (percent(sure), percent(single)) == ("85.7 ± 1.2", "85.7")
    assert (points(sure), points(Estimate(-0.01, math.nan, 1))) == ("+85.7 ± 1.2", "-1.0")
    assert (number(Estimate(12.345, 0.512, 3)), number(Estimate(12.345, math.nan, 1))) == ("12.3 ± 0.5", "12.3")
    assert number(Estimate(3.5512, 1.4e-15, 3)) == "3.55"
    assert [number(Estimate(*e, 3)) for e in ((-0.00865, 0.00189), (1234.5, 56.7), (0.0, 0.012))] == [
        "-0.00865 ± 0.00189",
        "1234 ± 57",
        "0.0000 ± 0.0120",
    ]
    assert (seconds(Spread(3.25, 0.5)), seconds(Spread(3.25, math.nan)), seconds(None)) == ("3.25 ± 0.50", "3.25", "–")
    assert [rough(values) for values in ([9.04], [15.7, 4.25, math.nan], [math.nan])] == ["9", "4.2 to 16", None]
    assert [p_value(Comparison(sure, p, p)) for p in (0.0004, 0.0321)] == ["< 0.001", "0.032"]
    assert p_value(Comparison(single, math.nan, math.nan)) == "–"


class Reader(HTMLParser):
    """Checks that tags are closed in order; collects the text of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        if tag in {"td", "th"}:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


def test_pages_escape_what_they_show(tmp_path: Path) -> None:
    """Names of rows and classes come from the user: they must neither break a table nor run as a script."""
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    evil = "<script>alert(1)</script> | a & b"
    table = Table(("row", evil), ((Value(evil, evil), Value("1", 1.0, strong=True, shade=-0.5)),))
    picture = Picture("a.png", evil, evil)
    section = Section(evil, (evil,), ((evil, table),), (picture,))
    render(StudyFolder(tmp_path), Page("Why?", evil, (evil,), picture, False, (picture,), (section,), evil, "{}", "v"))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert reader.cells == ["row", evil, evil, "1"]
    assert page.count("<script>") == 1
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in rows] == [3, 3, 3]
    assert "**1**" in rows[2]


def test_the_headline_holds_over_all_that_it_could_have_named() -> None:
    """p = 0.01 passes in each table alone, and not as one of twenty."""
    comparison = Comparison(Estimate(0.05, 0.03, 5), 0.01, 0.01, 0.024)
    line = Line("fix/0", Estimate(0.9, 0.03, 5), comparison, None, {}, {}, None, None)
    blocks = [Block("resnet", shots, 5, [line], []) for shots in range(1, 21)]
    assert all(line.gain is not None and line.gain.significant for block in blocks for line in block.lines)
    all_tables = headline(Summary(blocks, None, [], []))
    assert all_tables.startswith("None of 20 comparisons shows a difference from real images alone; 5 seeds reliably")
    some = headline(Summary(blocks[:4], None, [], []))
    assert some.startswith("Better than real images alone: fix/0 (resnet, 1 shot: +5.0 ± 3.0 points), fix/0 (resnet, 2")


def test_the_headline_says_what_could_have_been_seen() -> None:
    """Two rows, three seeds, deviations of 2.31 and 0.55 points: pooled 1.68, times 4.62 at level 0.05 / 2."""
    assert headline(summarize(CELLS)).endswith(
        "; 3 seeds reliably show only differences of about 7.8 points or more (--seeds 10 would show about 1.9)."
    )
    wild = [cell("none", 0, 0.2), cell("none", 1, 0.6), cell("a", 0, 0.7), cell("a", 1, 0.5)]
    assert "; 2 seeds reliably show no difference of any size (--seeds 10 would show about" in headline(summarize(wild))
    alike = [cell(row, n, top1) for row, shift in (("none", 0), ("a", 0.5)) for n, top1 in enumerate((shift, shift))]
    assert "how small a difference could have been seen is unknown" in headline(summarize(alike))


def test_the_headline_names_what_is_worse() -> None:
    harm = [c | {"top1": c["top1"] - 0.12} if c["row"] == "fix/chm" else c for c in CELLS]
    text = headline(summarize(harm))
    assert text.startswith("No row is shown to be better than real images alone, and these are worse: fix/chm (-6.6 ±")


def test_constants_of_the_real_images_are_a_row_of_their_own() -> None:
    seen = {"recognised_x": 0.9, "nearest_x": 2.0, "nearest_real_x": 3.55, "diversity_x": 1.0, "diversity_real_x": 3.55}
    cells = [cell("none", 0, 0.5), cell("none", 1, 0.5)]
    cells += [cell("a", seed, 0.5, set=seen | {"nearest_x": 2.0 + seed}) for seed in (0, 1)]
    tables = dict(measures_tables(block(cells)))
    near, varied = tables["How near to the real images? (x)"], tables["How varied are they? (x)"]
    assert near.head == ("row", "≈ nearest_x")
    assert [[shown.text for shown in row] for row in near.rows] == [["a", "2.50 ± 6.35"], ["real images", "3.55"]]
    assert [[shown.text for shown in row] for row in varied.rows] == [["a", "1"], ["real images", "3.55"]]
    assert set(tables) == {
        "Does the class show? (x)",
        *(f"How {how} (x)" for how in ("near to the real images?", "varied are they?")),
    }


def test_few_rows_allow_no_correlation() -> None:
    assert "4 rows are too few for a correlation: 10 that differ are needed" in correlation([1, 2, 3, 4], [4, 3, 2, 1])
    many = correlation(list(range(12)), [-n for n in range(12)])
    assert many.endswith("Rank correlation over 12 rows: -1.00, 95 % interval -1.00 to -1.00.")


def test_loss_curves_tell_whether_a_training_had_converged(tmp_path: Path) -> None:
    flat = [1.0] * 20
    falling = [2.0 - 0.09 * n for n in range(20)]
    made = {"cost": {"unit": "processor", "synthesize": 30.0, "train": 5.0}}
    cells = [cell(row, seed, 0.5, loss=flat, **made) for row in ("none", "a") for seed in (0, 1)]
    (section,) = training_section(findings(tmp_path, cells))
    assert section.notes[0] == "Every classifier was trained for 120 optimizer steps of 64 images."
    assert section.pictures[0].caption == "Converged: over the last fifth of the steps no loss fell by more than 5 %."
    ((_, table),) = section.tables
    assert table.head == ("row", "a synthetic set, processor s", "a training and its test, processor s")
    assert [shown.text for shown in table.rows[1]] == ["a", "30", "5"]
    cells[3] |= {"loss": falling}
    cells[2] |= {"loss": falling}
    (section,) = training_section(findings(tmp_path, cells))
    assert "the loss of 1 of 2 rows still fell by more than 5 %, most that of a, by 46 %" in section.pictures[0].caption
    (old,) = training_section(findings(tmp_path, CELLS))
    assert old.pictures == () and "before training losses were kept" in old.notes[-1]
    assert old.tables[0][1].head[-1] == "a training, clock s"


def test_an_old_folder_is_told(tmp_path: Path) -> None:
    """Its cells hold no loss and no cost, its verdict nothing of who had seen the images."""
    folder = written(tmp_path, CELLS, Adequacy("tiny", 200, 96, 3.5, 3.6, 4.0, 0.98, 0.97))
    old = {name: value for name, value in vars(folder.adequacy()).items() if not name.endswith("_saw")}
    (tmp_path / "adequacy.json").write_text(json.dumps(old))
    write_report(folder)
    text = folder.page("md").read_text(encoding="utf-8")
    first, rest = text.split("\n## ", 1)
    assert first.startswith(
        "# Which augmentation gives the best classifier?\n\n**Better than real images alone: fix/chm ("
    )
    assert first.index("figures/differences.png") < first.index("figures/real.png")
    assert "The backbone is good enough to compare methods on." in first
    assert "It is not known whether the extractor was trained on them" in rest
    assert rest.index("figures/accuracy-resnet-shots5.png") > 0


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    lacking = [{name: value for name, value in CELLS[0].items() if name != "caveats"}]
    with pytest.raises(UserError, match=r"cell-0\.json' has no 'caveats'"):
        read_findings(written(tmp_path / "cells", lacking))
    folder = written(tmp_path / "adequacy", CELLS)
    (folder.path / "adequacy.json").write_text('{"judge": "x"}')
    with pytest.raises(UserError, match=r"adequacy\.json' has no 'extractor'"):
        write_report(folder)
    folder.write_adequacy(Adequacy("tiny", 200, 96, 3.5, 3.6, 4.0, 0.98, 0.97, extractor_saw="many"))
    with pytest.raises(UserError, match=r"has a 'extractor_saw' that is str"):
        write_report(folder)
