"""The training half of a report: one file, nothing from outside, everything escaped, whatever parts are missing."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from contract.page import Band, Line, Mark, Section, line_chart, page, span_chart, steps, table
from contract.report import LARGEST_PICTURE, read_training, training_page

EVIL = '<script>alert("ü&")</script>'
METRICS: dict[str, Any] = {
    "val_accuracy": 0.5,
    "test_accuracy": 0.25,
    "test_sequences": 4,
    "test_words": {
        "日本": {"precision": 1.0, "recall": 0.75, "f1": 0.857, "sequences": 4},
        EVIL: {"precision": None, "recall": 0.125, "f1": 0.0, "sequences": 8},
    },
    "test_confusions": [{"word": EVIL, "answer": "日本", "times": 3}],
    "best_train_epoch": 1,
    "dataset_sha256": "f" * 64,
    "settings": {"epochs": 2, "augment": True, "schedule": EVIL},
}
HISTORY = "train_epoch,step,loss,accuracy,val_loss,val_accuracy\n1,10,2.0,0.1,1.5,0.2\n2,20,1.0,0.6,,\n"
VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """Tags, attributes and text of a page; fails where a tag is not closed, or closed by another."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def loaded(self) -> list[str]:
        """What a browser would fetch."""
        names = ("src", "href", "srcset", "data", "action", "poster", "xlink:href")
        return [attributes[name] or "" for _, attributes in self.tags for name in names if name in attributes]


def whole(folder: Path) -> Path:
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "history.csv").write_text(HISTORY)
    (folder / "confusion.png").write_bytes(b"\x89PNG")
    (folder / "reliability.png").write_bytes(b"\x89PNG")
    return folder


def test_a_page_of_everything(tmp_path: Path) -> None:
    text = training_page(whole(tmp_path), METRICS)
    read = Reader(text)
    assert {tag for tag, _ in read.tags} & {"script", "iframe", "object"} == set()
    assert read.loaded()
    assert all(one.startswith("data:") for one in read.loaded())
    assert "@import" not in text
    assert "url(" not in text
    for word in ("日本", EVIL, "12.5 %", "75.0 %", "f" * 64, "epoch 1 of 2", "augment = true"):
        assert word in read.text
    assert sum(tag == "svg" for tag, _ in read.tags) == 2
    assert sum(tag == "polyline" for tag, _ in read.tags) == 4
    for needed in ("prefers-color-scheme: dark", "@media print", 'name="viewport"', "default-src 'none'"):
        assert needed in text


def test_the_worst_word_is_the_first(tmp_path: Path) -> None:
    words = Reader(training_page(whole(tmp_path), METRICS)).text.partition("Words")[2]
    assert words.index(EVIL) < words.index("日本")


def test_the_same_training_gives_the_same_page(tmp_path: Path) -> None:
    assert training_page(whole(tmp_path), METRICS) == training_page(tmp_path, METRICS)


@pytest.mark.parametrize("missing", ["metrics.json", "history.csv", "confusion.png", "reliability.png"])
def test_a_part_that_is_missing_is_said_and_the_others_are_there(tmp_path: Path, missing: str) -> None:
    (whole(tmp_path) / missing).unlink()
    found = read_training(tmp_path)
    assert [missing in note for note in found.notes] == [True]
    assert not found.empty
    text = Reader(page("t", "", [Section("Training", training_page(tmp_path, found.metrics))])).text
    assert f"there is no {missing}" in text or missing == "metrics.json"


def test_a_folder_without_anything_is_empty(tmp_path: Path) -> None:
    found = read_training(tmp_path)
    assert found.empty
    assert len(found.notes) == 4
    Reader(training_page(tmp_path, {}))


@pytest.mark.parametrize(
    "metrics",
    [
        "[]",
        "{",
        '{"test_words": 3, "settings": [], "test_confusions": {"a": 1}, "notes": 5}',
        '{"test_words": {"a": 1}}',
    ],
)
def test_what_another_trainer_wrote_does_no_harm(tmp_path: Path, metrics: str) -> None:
    (whole(tmp_path) / "metrics.json").write_text(metrics)
    (tmp_path / "history.csv").write_bytes(b"a,step,loss\nx,nan,inf\n1,2,\xff\n")
    Reader(training_page(tmp_path, read_training(tmp_path).metrics))


def test_a_picture_that_would_make_the_page_too_large_is_left_out(tmp_path: Path) -> None:
    (whole(tmp_path) / "confusion.png").write_bytes(bytes(LARGEST_PICTURE + 1))
    (tmp_path / "reliability.png").write_bytes(bytes(LARGEST_PICTURE))
    epochs = "".join(f"{n},{n},1.2345678901,0.2345678901,1.2,0.1\n" for n in range(1, 100_001))
    (tmp_path / "history.csv").write_text(HISTORY.splitlines()[0] + "\n" + epochs)
    words = {f"ẅord-{n}": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "sequences": 9} for n in range(2000)}
    text = training_page(tmp_path, METRICS | {"test_words": words})
    assert "confusion.png is left out: 0.7 MB" in text
    assert len(text.encode()) < 2_000_000


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [(1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]), (225, [0, 50, 100, 150, 200, 250]), (0.003, [0, 0.001, 0.002, 0.003])],
)
def test_ticks_are_round_and_reach_the_highest(highest: float, ticks: list[float]) -> None:
    assert steps(highest) == pytest.approx(ticks)


@pytest.mark.parametrize(
    "points", [[(1.0, 0.0)], [(1.0, 2.0), (1.0, 3.0)], [(0.0, 0.0), (1e-9, 1e9)], [(1.0, -5.0), (2.0, -0.5)]]
)
def test_a_chart_of_little_is_a_chart(points: list[tuple[float, float]]) -> None:
    shown = line_chart(EVIL, EVIL, [Line(EVIL, points, "a")], bands=[Band(EVIL, 0, 9)], marks=[Mark(EVIL, 5)])
    Reader(shown)
    assert "nan" not in shown
    assert "<script" not in shown


def test_nothing_to_draw_is_no_chart() -> None:
    assert line_chart("t", "x", [Line("l", [], "a")]) == ""
    assert span_chart("t", "x", []) == ""


def test_spans_and_tables_are_escaped() -> None:
    shown = span_chart(EVIL, EVIL, [(Band(EVIL, 0, 0), [Mark(EVIL, 0)])]) + table([EVIL], [[EVIL], [None], [0.5]])
    Reader(shown)
    assert "<script" not in shown
