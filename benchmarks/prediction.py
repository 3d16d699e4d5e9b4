"""What `signspot predict` costs beyond finding hands: `python -m benchmarks.prediction`

In turn, in pairs, so that a busy machine is busy for both: from the clip's file to the answer, as `predict` does it
(decoding, landmarker, sides, features, network), against the landmarker alone on the same frames, decoded beforehand.
All is warm: MediaPipe's process has done the clip once, TensorFlow has answered once. Then the whole command, cold.
Enters: a folder of clips; of them the one nearest to 60 frames is taken. Leaves: a Result.
The network is the default one, untrained, which takes the same time as a trained one; or --model's.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

from benchmarks.pairs import arguments, pairs, run
from benchmarks.result import Aim, Baseline, Result, Row
from benchmarks.table import show
from contract.config import TrainerConfig
from trainer.clips import find_clips
from trainer.extract import Done, Task, extract_clip
from trainer.hand_model import find_hand_model, user_cache
from trainer.landmarks import HandTracker, Options
from trainer.normalise import VERSION
from trainer.recognise import ModelFolder
from trainer.video import Video

WORDS = 50
FRAMES = 60


def without_tensorflow() -> None:
    """As the workers of `trainer.workers` are."""
    sys.modules["tensorflow"] = None  # type: ignore[assignment]


def bare(clip: Path, model: Path) -> float:
    """The landmarker's seconds on the clip's frames."""
    with Video(clip) as video:
        frames = list(video)
    with HandTracker(model, Options()) as tracker:
        began = time.perf_counter()
        for index, frame in enumerate(frames):
            tracker.track(frame, index * 33)
        return time.perf_counter() - began


def frames_in(clip: Path) -> int:
    with Video(clip) as video:
        return video.promised or 0


def untrained(folder: Path) -> Path:
    from trainer.export import INFERENCE, LABELS, MODEL, calibrated
    from trainer.model import build_model

    calibrated(build_model(TrainerConfig(), WORDS), 1.0).save(folder / MODEL)
    (folder / LABELS).write_text(json.dumps([f"word {number}" for number in range(WORDS)]))
    (folder / INFERENCE).write_text(json.dumps({"preprocessing": VERSION, "unknown_below": 0.5}))
    return folder


def main() -> None:
    parser = arguments("prediction", __doc__)
    parser.add_argument("--videos", type=Path, default=Path("../shared/data/videos"))
    parser.add_argument("--model", type=Path, help="a trained model's folder")
    options = parser.parse_args()
    if not options.videos.is_dir():
        sys.exit(f"{options.videos} is absent; name a folder of clips with --videos")
    hands = find_hand_model(None, user_cache(os.environ))
    clip = min((clip.path for clip in find_clips(options.videos)), key=lambda path: abs(frames_in(path) - FRAMES))
    task = Task(clip, clip, hands, Options(), preview=False)
    with (
        tempfile.TemporaryDirectory() as temporary,
        ProcessPoolExecutor(1, get_context("spawn"), initializer=without_tensorflow) as worker,
    ):
        folder = options.model or untrained(Path(temporary))
        recogniser = ModelFolder.read(folder).load()
        network: list[float] = []

        def whole() -> float:
            began = time.perf_counter()
            done = worker.submit(extract_clip, task).result()
            if not isinstance(done, Done) or done.extracted is None:
                sys.exit(f"{clip}: {done}")
            seen = time.perf_counter()
            recogniser.answer(done.extracted.keypoints)
            network.append(time.perf_counter() - seen)
            return time.perf_counter() - began

        def alone() -> float:
            return worker.submit(bare, clip, hands).result()

        worker.submit(extract_clip, task).result()
        ours, theirs = pairs(whole, alone, options.pairs)
        cold = run([sys.executable, "-m", "trainer.predict", folder, clip])
    result = Result(
        name="prediction",
        what="From a clip's file to the word, by `signspot predict`.",
        how=f"A clip of {frames_in(clip)} frames; both warm: each has done the clip before.",
        baselines=(
            Baseline(name="MediaPipe's hand landmarker alone, on frames in memory", version=version("mediapipe")),
        ),
        rows=(
            Row(measure="file to word", unit="s", ours=tuple(ours), theirs=tuple(theirs), aim=Aim(number=1.2)),
            Row(measure="the network's part of it", unit="s", ours=tuple(network)),
            Row(measure="the whole command, cold", unit="s", ours=(cold.seconds,)),
        ),
    )
    result.write(options.json)
    show(result)


if __name__ == "__main__":
    main()
