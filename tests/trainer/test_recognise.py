from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from contract.errors import DataError
from tests.trainer.models_for_tests import WORDS, a_hand, sure_of, write_model
from trainer.normalise import CHANNELS, VERSION
from trainer.recognise import NOTHING, ModelFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not change it."""
    return write_model(tmp_path_factory.mktemp("models") / "ünïcode")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        ModelFolder.read(folder).load_model()
    return str(caught.value)


def test_an_answer_does_not_depend_on_what_else_is_asked(folder: Path) -> None:
    recogniser = ModelFolder.read(folder).load()
    clips = [a_hand(frames, seed=frames) for frames in (1, 7, 200)]
    together = recogniser.probabilities(clips)
    assert together.shape == (3, 3)
    assert together.sum(axis=1) == pytest.approx(1)
    longest = recogniser.answer(clips[2], top=2)
    assert longest.verdict == "word"
    assert [guess.confidence for guess in longest.top] == pytest.approx(sorted(together[2])[:0:-1])
    assert longest.word == WORDS[together[2].argmax()]
    assert len(recogniser.answer(clips[0], top=9).top) == 3


def test_below_the_threshold_it_is_unknown() -> None:
    answer = sure_of({0: 0.34, 1: 0.3, 2: 0.36}, unknown_below=0.5).answer(a_hand(5))
    assert (answer.verdict, answer.word, answer.confidence) == ("unknown", None, pytest.approx(0.36))
    assert str(answer) == "unknown (likeliest: señal 手 36.0%)"
    assert str(sure_of({0: 0.34, 1: 0.66}).answer(a_hand(5))) == "milk (66.0%)"


def test_a_clip_without_a_hand_is_no_sign_whatever_the_model_says() -> None:
    answer = sure_of({0: 1.0}).answer(np.zeros((9, 2, 21, 3), np.float32))
    assert (answer.verdict, answer.word, answer.confidence, answer.top) == ("no sign", None, None, ())
    assert str(answer) == "no sign (no hand in any frame)"


def test_a_dataset_may_have_a_label_for_nothing() -> None:
    labels = ("tea", NOTHING)
    assert str(sure_of({1: 0.9}, labels=labels).answer(a_hand(5))) == "no sign (90.0%)"
    assert sure_of({1: 0.4}, labels=labels).answer(a_hand(5)).verdict == "unknown"


@pytest.mark.parametrize("name", ["model.keras", "labels.json", "inference.json"])
def test_a_file_that_is_missing_or_broken_is_named(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b'{"never": ')
    assert f"{copy / name} cannot be read" in refusal(copy)
    (copy / name).unlink()
    assert f"{copy} holds no {name}" in refusal(copy)


def test_what_an_older_version_left_beside_a_model_is_no_matter(copy: Path) -> None:
    """`fetch` brings a new model into a folder that an old one is in."""
    (copy / "best_model.keras").write_bytes(b"old")
    assert ModelFolder.read(copy).labels


def test_a_folder_of_an_older_version(copy: Path) -> None:
    (copy / "inference.json").unlink()
    (copy / "model.keras").rename(copy / "best_model.keras")
    said = refusal(copy)
    assert "holds no inference.json" in said
    assert "an older version wrote it" in said
    assert "train again" in said


def test_no_folder_and_an_empty_one(tmp_path: Path) -> None:
    assert "is no folder" in refusal(tmp_path / "nowhere")
    assert "holds no model.keras, no labels.json, no inference.json" in refusal(tmp_path)


def test_another_preprocessing_is_refused_before_tensorflow_is_asked(copy: Path) -> None:
    (copy / "model.keras").write_bytes(b"not looked at")
    (copy / "inference.json").write_text(json.dumps({"preprocessing": VERSION + 1, "unknown_below": 0.5}))
    said = refusal(copy)
    assert f"was trained with preprocessing {VERSION + 1}, this is {VERSION}" in said
    assert "train again or use the version that trained it" in said


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("inference.json", "[]", "does not name its preprocessing"),
        ("inference.json", json.dumps({"preprocessing": VERSION}), "unknown_below is None"),
        ("inference.json", json.dumps({"preprocessing": VERSION, "unknown_below": 2}), "unknown_below is 2"),
        (
            "inference.json",
            json.dumps({"preprocessing": VERSION, "unknown_below": float("nan")}),
            "unknown_below is nan",
        ),
        ("labels.json", "{}", "is not a list of different words"),
        ("labels.json", '["tea", "tea", "milk"]', "is not a list of different words"),
        ("labels.json", '["tea", 2, "milk"]', "is not a list of different words"),
        ("labels.json", "[]", "is not a list of different words"),
        ("labels.json", '["tea"]', "knows 3 words, its labels.json names 1"),
    ],
)
def test_small_files_that_make_no_sense(copy: Path, name: str, content: str, said: str) -> None:
    (copy / name).write_text(content)
    assert said in refusal(copy)


def test_a_model_with_code_in_it_is_refused_and_the_code_does_not_run(tmp_path: Path) -> None:
    import keras

    features = keras.Input((None, CHANNELS))
    pooled = keras.layers.GlobalAveragePooling1D()(features)
    trap = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()"
    hidden = keras.layers.Lambda(eval(f"lambda x: ({trap}, x)[1]"), output_shape=(CHANNELS,))(pooled)
    model = keras.Model(features, keras.layers.Dense(len(WORDS), activation="softmax")(hidden))
    write_model(tmp_path / "model", model)
    assert "cannot be read" in refusal(tmp_path / "model")
    assert not (tmp_path / "ran").exists()
    loaded = keras.saving.load_model(tmp_path / "model/model.keras", safe_mode=False)
    loaded(np.zeros((1, 1, CHANNELS), np.float32))
    assert (tmp_path / "ran").exists(), "the trap works"


def test_a_pickle_by_the_models_name_is_not_opened(copy: Path, tmp_path: Path) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    (copy / "model.keras").write_bytes(pickle.dumps(Trap()))
    assert "cannot be read" in refusal(copy)
    assert not (tmp_path / "ran").exists()


def test_models_of_something_else(tmp_path: Path) -> None:
    import keras

    features = keras.Input((None, 5))
    pooled = keras.layers.GlobalAveragePooling1D()(features)
    write_model(tmp_path, keras.Model(features, keras.layers.Dense(3, activation="softmax")(pooled)))
    assert "is not a model of words" in refusal(tmp_path)

    features = keras.Input((None, CHANNELS))
    pooled = keras.layers.GlobalAveragePooling1D()(features)
    write_model(tmp_path, keras.Model(features, keras.layers.Dense(3)(pooled)))
    with pytest.raises(DataError, match="gives no probabilities"):
        ModelFolder.read(tmp_path).load()
