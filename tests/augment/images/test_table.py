import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import paint
from PIL import Image

from augment.errors import UserError
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import TableFolder
from augment.runtime.claim import check_outside

RED, BLUE = (200, 30, 30), (30, 30, 200)
ROWS = [("a.png", "red", "train"), ("sub/b.png", "blue", "train"), ("c.png", "red", "test"), ("d.png", "blue", "val")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, (file, label, _) in enumerate(ROWS):
        paint(tmp_path / "images" / file, RED if label == "red" else BLUE, seed)
    return tmp_path / "images"


def write_csv(
    path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ("file", "label", "split"), delimiter: str = ","
) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


def write(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    records = [dict(zip(("file", "label", "split"), row, strict=True)) for row in rows]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    elif path.suffix == ".parquet":
        import pandas

        pandas.DataFrame(records).to_parquet(path)
    else:
        write_csv(path, rows, delimiter="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_kind_of_table_gives_files_labels_and_splits(folder: Path, tmp_path: Path, suffix: str) -> None:
    source = TableFolder(folder, write(tmp_path / f"labels{suffix}", ROWS))
    assert source.classes == ("blue", "red")
    assert [(item.name, item.label, item.split) for item in source.pool] == [
        ("a.png", 1, "pool"),
        ("sub/b.png", 0, "pool"),
    ]
    assert [(item.name, item.label, item.split) for item in source.test] == [("c.png", 1, "test")]
    for item in (*source.pool, *source.test):
        assert source.content(item) == (folder / item.name).read_bytes()
        assert np.array_equal(np.asarray(source.image(item)), np.asarray(Image.open(folder / item.name)))


def test_a_few_shot_set_comes_from_a_table(folder: Path, tmp_path: Path) -> None:
    chosen = choose_few_shot_set(TableFolder(folder, write_csv(tmp_path / "l.csv", ROWS)), 1, 0)
    assert [shot.name for shot in chosen.all] == ["sub/b.png", "a.png"]


def test_a_table_without_splits_is_all_pool(folder: Path, tmp_path: Path) -> None:
    rows = [row[:2] for row in ROWS]
    source = TableFolder(folder, write_csv(tmp_path / "l.csv", rows, ("file", "label")))
    assert len(source.pool) == 4
    with pytest.raises(UserError, match=r"source.test_split: '.*l.csv' has no column 'split', so no test images; add"):
        _ = source.test


def test_numbers_as_labels_are_ordered_by_value(folder: Path, tmp_path: Path) -> None:
    rows = [("a.png", "10"), ("sub/b.png", "9"), ("c.png", "2")]
    table = write_csv(tmp_path / "l.csv", rows, ("id", "kind"), delimiter=";")
    assert TableFolder(folder, table, file_column="id", label_column="kind").classes == ("2", "9", "10")


def test_another_split_may_be_named(folder: Path, tmp_path: Path) -> None:
    rows = [*ROWS[:3], ("d.png", "blue", "val")]
    source = TableFolder(folder, write_csv(tmp_path / "l.csv", rows), test_split="val")
    assert [item.name for item in source.test] == ["d.png"]


def refused(source: TableFolder, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        _ = (source.classes, source.pool, source.test)
    assert "\n" not in str(raised.value)


def test_missing_files_are_counted_and_three_named(folder: Path, tmp_path: Path) -> None:
    rows = [*ROWS, *((f"gone{n}.png", "red", "train") for n in range(5))]
    message = r"source.labels: 5 of the 9 files in '.*l.csv' are not below '.*images': 'gone0.png', 'gone1.png', "
    refused(TableFolder(folder, write_csv(tmp_path / "l.csv", rows)), message + "'gone2.png' and 2 more; write")


def test_rows_that_repeat_a_file(folder: Path, tmp_path: Path) -> None:
    rows = [*ROWS, ("a.png", "blue", "test")]
    message = "1 files stand in more than one row of '.*l.csv': 'a.png'; leave one row for each file"
    refused(TableFolder(folder, write_csv(tmp_path / "l.csv", rows)), message)


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_label(folder: Path, tmp_path: Path, empty: str) -> None:
    rows = [*ROWS[:3], ("d.png", empty, "train")]
    message = "1 rows of '.*l.csv' have an empty label: 'd.png'; fill in the labels, or delete the rows"
    refused(TableFolder(folder, write_csv(tmp_path / "l.csv", rows)), message)


def test_a_row_without_a_file(folder: Path, tmp_path: Path) -> None:
    rows = [*ROWS, ("", "red", "train")]
    message = "1 rows of '.*l.csv' name no file, number '5'; fill in"
    refused(TableFolder(folder, write_csv(tmp_path / "l.csv", rows)), message)


def test_a_split_that_does_not_exist(folder: Path, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "l.csv", ROWS)
    there = "there are 'test', 'train', 'val'"
    refused(TableFolder(folder, table, split="tarin"), f"source.split: no row of .* has the split 'tarin'; {there}")
    refused(TableFolder(folder, table, test_split="dev"), f"source.test_split: no row of .* split 'dev'; {there}")


def test_a_column_that_does_not_exist(folder: Path, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "l.csv", ROWS, ("file", "kind", "split"))
    message = "source.label_column: '.*l.csv' has no column 'label' or .*; name one of its columns: 'file', 'kind', 'sp"
    refused(TableFolder(folder, table), message)
    refused(TableFolder(folder, table, file_column="id"), "source.file_column: '.*l.csv' has no column 'id'; name")


def test_a_test_label_that_the_pool_lacks(folder: Path, tmp_path: Path) -> None:
    rows = [*ROWS[:3], ("d.png", "green", "test")]
    refused(TableFolder(folder, write_csv(tmp_path / "l.csv", rows)), "'green': a label of the split 'test' of")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.csv", "", r"'.*l.csv' has no rows; give one row an image"),
        ("l.jsonl", "{not json\n", r"'.*l.jsonl' cannot be read \(is not JSON \(Expecting"),
        ("l.jsonl", "[" * 100_000, r"'.*l.jsonl' cannot be read \(is not JSON \("),
        ("l.jsonl", "[1, 2]\n", r"'.*l.jsonl' cannot be read \(holds no JSON object but list"),
        ("l.parquet", "no parquet", r"'.*l.parquet' cannot be read \("),
        ("l.xlsx", "sheet", r"'.*l.xlsx' ends in '.xlsx'; give one that ends in .csv"),
    ],
)
def test_a_table_that_is_none(folder: Path, tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    refused(TableFolder(folder, tmp_path / name), f"source.labels: {message}")


def test_nothing_is_written_among_the_images(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"output: '.*' lies in '.*', where the real images are read from"):
        check_outside(folder / "out", TableFolder(folder, tmp_path / "l.csv").folders)


def test_no_table_and_no_folder(folder: Path, tmp_path: Path) -> None:
    refused(TableFolder(folder, tmp_path / "nowhere.csv"), "source.labels: no file '.*nowhere.csv'; give a CSV")
    table = write_csv(tmp_path / "l.csv", ROWS)
    refused(TableFolder(tmp_path / "nowhere", table), f"source.path: no folder '{re.escape(str(tmp_path))}/nowhere'")
