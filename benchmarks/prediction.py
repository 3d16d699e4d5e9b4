"""What `signspot predict` costs beyond finding hands: `python benchmarks/prediction.py --videos ../shared/data/videos`

In turn, in pairs, so that a busy machine is busy for both: from the clip's file to the answer, as `predict` does it
(decoding, landmarker, sides, features, network), against the landmarker alone on the same frames, decoded beforehand.
All is warm: MediaPipe's process has done the clip once, TensorFlow has answered once. Then the whole command, cold.
Enters: a folder of clips; of them the one nearest to 60 frames is taken. Leaves: ratios, as text and JSON.
The network is the default one, untrained, which takes the same time as a trained one; or --model's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

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


def bare(clip: Path, model: Path) -> tuple[int, float]:
    """Frames, and the landmarker's seconds on them."""
    with Video(clip) as video:
        frames = list(video)
    with HandTracker(model, Options()) as tracker:
        began = time.perf_counter()
        for index, frame in enumerate(frames):
            tracker.track(frame, index * 33)
        return len(frames), time.perf_counter() - began


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=Path, default=Path("../shared/data/videos"))
    parser.add_argument("--model", type=Path, help="a trained model's folder")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--json", type=Path, default=Path("results/prediction.json"))
    options = parser.parse_args()
    if not options.videos.is_dir():
        print(f"skipped: {options.videos} is absent; name a folder of clips with --videos")
        return
    hands = find_hand_model(None, user_cache(os.environ))
    clip = min((clip.path for clip in find_clips(options.videos)), key=lambda path: abs(frames_in(path) - FRAMES))
    task = Task(clip, clip, hands, Options(), preview=False)
    whole, alone, network = [], [], []
    with (
        tempfile.TemporaryDirectory() as temporary,
        ProcessPoolExecutor(1, get_context("spawn"), initializer=without_tensorflow) as worker,
    ):
        folder = options.model or untrained(Path(temporary))
        recogniser = ModelFolder.read(folder).load()
        worker.submit(extract_clip, task).result()
        frames = 0
        for pair in range(options.pairs):
            began = time.perf_counter()
            done = worker.submit(extract_clip, task).result()
            if not isinstance(done, Done) or done.extracted is None:
                sys.exit(f"{clip}: {done}")
            seen = time.perf_counter()
            recogniser.answer(done.extracted.keypoints)
            whole.append(time.perf_counter() - began)
            network.append(time.perf_counter() - seen)
            frames, seconds = worker.submit(bare, clip, hands).result()
            alone.append(seconds)
            print(f"pair {pair}: whole {whole[-1]:.3f} s / landmarker {seconds:.3f} s = {whole[-1] / seconds:.3f}")
        began = time.perf_counter()
        command = [sys.executable, "-m", "trainer.predict", str(folder), str(clip)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cold = time.perf_counter() - began
    ratios = [one / other for one, other in zip(whole, alone, strict=True)]
    result = {
        "frames": frames,
        "whole_to_landmarker": [round(ratio, 3) for ratio in ratios],
        "median_whole_to_landmarker": round(statistics.median(ratios), 3),
        "median_landmarker_seconds": round(statistics.median(alone), 3),
        "median_answer_seconds": round(statistics.median(network), 4),
        "cold_command_seconds": round(cold, 1),
        "processors": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
