from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.cli import schemas
from tests.trainer.clips_for_tests import hand_model, moving_square, needs_opencv, real_clips, write_video
from tests.trainer.models_for_tests import WORDS, a_hand, write_model
from trainer.extract import Done, Task, extract_clip
from trainer.keypoints import load_keypoints
from trainer.landmarks import Options
from trainer.predict import captions, main, predict, table
from trainer.timeline import Stretch
from trainer.video import Video
from trainer.workers import run_jobs

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Always sure; do not change it."""
    return write_model(tmp_path_factory.mktemp("models") / "modèle")


@pytest.fixture
def keypoints(tmp_path: Path) -> Path:
    np.save(tmp_path / "手.npy", a_hand(20))
    return tmp_path / "手.npy"


def test_a_trained_model_knows_its_words(model_dir: Path, test_clips: list[tuple[Path, str]]) -> None:
    path, label = test_clips[0]
    answer = predict(model_dir, load_keypoints(path))
    assert len(answer.top) == 3
    assert sum(guess.confidence for guess in answer.top) == pytest.approx(1)
    assert answer.top[0].word == label


def test_word_confidence_and_top(model: Path, keypoints: Path, capsys: Capture) -> None:
    answer = predict(model, load_keypoints(keypoints))
    assert main([str(model), str(keypoints)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{answer.word} ({answer.confidence:.1%})"
    assert [line.split()[1] for line in lines[1:]] == [guess.word.split()[0] for guess in answer.top]
    assert main([str(model), str(keypoints), "--top", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main([str(model), str(keypoints), "--json"]) == 0
    told = schemas.check("predict", capsys.readouterr().out)
    assert told["verdict"] == "word"
    assert told["word"] == told["top"][0]["word"] == answer.word
    assert told["confidence"] == told["top"][0]["confidence"] == answer.confidence
    assert (told["file"], told["frames"], len(told["top"])) == (str(keypoints), 20, 3)


def test_unknown_and_no_sign_are_answers(tmp_path: Path, keypoints: Path, capsys: Capture) -> None:
    strict = write_model(tmp_path / "strict", unknown_below=1.0)
    assert main([str(strict), str(keypoints)]) == 0
    assert capsys.readouterr().out.startswith("unknown (likeliest: ")
    assert main([str(strict), str(keypoints), "--json"]) == 0
    told = schemas.check("predict", capsys.readouterr().out)
    assert (told["verdict"], told["word"], len(told["top"])) == ("unknown", None, 3)
    np.save(tmp_path / "none.npy", np.zeros((5, 2, 21, 3)))
    assert main([str(strict), str(tmp_path / "none.npy")]) == 0
    assert capsys.readouterr().out == "no sign (no hand in any frame)\n"


def test_a_folder_is_a_line_each(model: Path, keypoints: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "más").mkdir()
    np.save(tmp_path / "más/one.npy", a_hand(1))
    np.save(tmp_path / "más/nan.npy", np.full((4, 2, 21, 3), np.nan))
    assert main([str(model), str(tmp_path)]) == 7
    lines = sorted(capsys.readouterr().out.splitlines())
    assert lines[0] == "failed    más/nan.npy: holds NaN or infinite values, first in frame 0"
    assert [line.partition(": ")[0] for line in lines[1:]] == ["más/one.npy", "手.npy"]
    assert main([str(model), str(tmp_path), "--json"]) == 7
    rows = schemas.check("predict", capsys.readouterr().out)
    assert [row["file"] for row in rows] == ["más/nan.npy", "más/one.npy", "手.npy"]
    assert rows[0]["failure"] == "holds NaN or infinite values, first in frame 0"
    assert rows[1]["word"] in WORDS
    keypoints.unlink()
    (tmp_path / "más/nan.npy").unlink()
    assert main([str(model), str(tmp_path)]) == 0
    (tmp_path / "más/one.npy").write_text("text")
    assert main([str(model), str(tmp_path)]) == 3


def test_a_timeline(model: Path, keypoints: Path, capsys: Capture) -> None:
    np.save(keypoints, np.concatenate([a_hand(60), np.zeros((60, 2, 21, 3), np.float32)]))
    keypoints.with_suffix(".json").write_text('{"frames_per_second": 60}')
    assert main([str(model), str(keypoints), "--timeline", "--json"]) == 0
    shown = capsys.readouterr()
    word, nothing = schemas.check("predict", shown.out)
    assert shown.err == ""
    assert (word["start"], word["verdict"], word["word"] in WORDS) == (0, "word", True)
    assert (nothing["end"], nothing["verdict"], nothing["word"]) == (2, "no sign", None)
    assert word["end"] == nothing["start"] == pytest.approx(1, abs=0.11)
    keypoints.with_suffix(".json").unlink()
    assert main([str(model), str(keypoints), "--timeline"]) == 0
    shown = capsys.readouterr()
    assert "does not say its frame rate: 30 a second assumed" in shown.err
    assert shown.out.splitlines()[2].split() == ["0:02.0", "0:04.0", "no", "sign"]


def test_times_for_people_and_captions() -> None:
    found = (
        Stretch(0, 0.84, "no sign", None, None),
        Stretch(0.84, 59.96, "word", "tea", 0.9714),
        Stretch(59.96, 3601.5, "unknown", None, None),
    )
    assert table(found).splitlines()[1:] == [
        "   0:00.0    0:00.8  no sign",
        "   0:00.8    1:00.0  tea (97.1%)",
        "   1:00.0   60:01.5  unknown",
    ]
    caption = captions(found, 25)
    assert [caption(frame) for frame in (0, 20, 21, 1498, 1499, 10**6)] == [
        "",
        "",
        *["tea (97.1%)"] * 2,
        *["unknown"] * 2,
    ]


@pytest.fixture
def mess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: all that people might name by mistake."""
    monkeypatch.chdir(tmp_path)
    for name, content in (
        ("notes.txt", b"text"),
        ("text.mp4", b"text"),
        ("empty.webm", b""),
        ("noise.mkv", bytes(range(256)) * 50),
        ("bad.npy", b"text"),
    ):
        (tmp_path / name).write_bytes(content)
    np.save("good.npy", a_hand(2))
    np.save("shape.npy", np.zeros((2, 21, 3)))
    np.save("nan.npy", np.full((2, 2, 21, 3), np.nan))
    np.save("none.npy", np.zeros((0, 2, 21, 3)))
    (tmp_path / "nothing").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["gone.npy"], 3, "gone.npy does not exist"),
        (["notes.txt"], 3, "neither a clip nor a keypoint file"),
        (["text.mp4"], 3, "is a text file, not a video"),
        (["empty.webm"], 3, "is empty"),
        (["bad.npy"], 3, "bad.npy: is not a .npy file of numbers"),
        (["shape.npy"], 3, "shape.npy: has the shape (2, 21, 3)"),
        (["nan.npy"], 3, "nan.npy: holds NaN"),
        (["none.npy"], 3, "none.npy: has no frame"),
        (["nothing"], 3, "holds no clip"),
        ([], 2, "nothing to recognise"),
        (["good.npy", "--overlay", "out.mp4"], 2, "has no picture to draw on"),
        (["noise.mkv", "--overlay", "out.gif"], 3, "does not end in .mp4"),
        (["noise.mkv", "--overlay", "no/such/out.mp4"], 3, "cannot be written"),
        ([".", "--timeline"], 2, "take one file"),
        (["good.npy", "--timeline", "--window", "0"], 2, "cannot move"),
        (["good.npy", "--camera"], 2, "--camera takes neither"),
    ],
)
def test_what_cannot_be_done_is_one_message(
    model: Path, mess: Path, capsys: Capture, arguments: list[str], code: int, said: str
) -> None:
    assert main([str(model), *arguments]) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


def test_no_camera_is_one_message(model: Path, capsys: Capture) -> None:
    needs_opencv()
    assert main([str(model), "--camera", "97"]) == 3
    assert capsys.readouterr().err.startswith("camera 97 cannot be opened\n")


def test_clips_without_a_hand_and_what_is_no_video(model: Path, mess: Path, capsys: Capture) -> None:
    hand_model()
    write_video(mess / "手.avi", moving_square(6))
    assert main([str(model), "手.avi", "--overlay", "out.mp4"]) == 0
    assert capsys.readouterr().out == "no sign (no hand in any frame)\n"
    with Video(mess / "out.mp4") as video:
        assert sum(1 for _ in video) == 6
    assert main([str(model), "noise.mkv", "--overlay", "other.mp4"]) == 3
    assert "noise.mkv: cannot be decoded" in capsys.readouterr().err
    assert not (mess / "other.mp4").exists()


def test_a_real_clip_is_as_its_extracted_keypoints(model: Path, tmp_path: Path, capsys: Capture) -> None:
    hands, clip = hand_model(), real_clips() / "yo/001.mp4"
    task = Task(clip, clip, hands, Options(), preview=False)
    with closing(run_jobs(extract_clip, [task], 1)) as answers:
        ((_, done),) = answers
    assert isinstance(done, Done)
    assert done.extracted
    np.save(tmp_path / "yo.npy", done.extracted.keypoints)
    assert main([str(model), str(clip), "--overlay", str(tmp_path / "yo.mp4")]) == 0
    first = capsys.readouterr().out
    assert main([str(model), str(tmp_path / "yo.npy")]) == 0
    assert capsys.readouterr().out == first
    with Video(tmp_path / "yo.mp4") as video:
        assert sum(1 for _ in video) == len(done.extracted.keypoints)
        assert video.frames_per_second == pytest.approx(done.extracted.frames_per_second, rel=1e-3)
