"""Predict. Enters: a model folder and keypoints, a clip, a folder of them, or a camera. Leaves: the word, and how sure.

    python -m trainer.predict MODEL INPUT [--top 3] [--json] [--overlay OUT.mp4]
    python -m trainer.predict MODEL INPUT --timeline [--window 1.0] [--stride 0.1] [--json] [--overlay OUT.mp4]
    python -m trainer.predict MODEL --camera [N]

While the hands of a clip are found in other processes, TensorFlow is imported here. Exit 0: answered, be it "unknown".
Exit 3: the model or the only input is unusable, or every one of a folder. Exit 7: partial: some of a folder are
unusable or doubtful, the others are answered. Exit 130: stopped.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from bisect import bisect_right
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contract.errors import ConfigError, DataError, SignspotError
from trainer.camera import Camera, watch
from trainer.extract_report import EXIT_PARTIAL, EXIT_STOPPED
from trainer.hand_model import find_hand_model, user_cache
from trainer.keypoints import Keypoints
from trainer.landmarks import ASSUMED_RATE, HandTracker, Options
from trainer.overlay import Caption, check_target, draw_overlay
from trainer.recognise import TOP, Answer, ModelFolder, Recogniser
from trainer.sources import Seen, Source, find_sources, look_at
from trainer.timeline import STRIDE, WINDOW, Sliding, Stretch, timeline
from trainer.workers import cores


def predict(model_dir: Path, keypoints: Keypoints) -> Answer:
    """Recognise one clip, (frames, 2, 21, 3) as `load_keypoints` returns it.

    Raises:
        DataError: the model folder is incomplete, damaged, or does not fit this version.
    """
    return ModelFolder.read(model_dir).load().answer(keypoints)


def predict_folder(sources: tuple[Source, ...], recogniser: Future[Recogniser], options: argparse.Namespace) -> int:
    """A line for each, as they get ready; with --json one array, sorted by name."""
    rows, failed, doubtful = [], 0, 0
    for source, seen in look_at(sources, lambda: _hand_model(options), cores()):
        row: dict[str, Any] = {"file": source.name}
        if isinstance(seen, DataError):
            failed += 1
            row["failure"] = line = f"{seen.what} ({seen.why})" if seen.why else seen.what
            line = f"failed    {source.name}: {line}"
        else:
            answer = recogniser.result().answer(seen.keypoints, options.top)
            doubtful += bool(seen.doubts)
            row |= as_json(answer, seen)
            line = f"{source.name}: {answer}" + "".join(f"; doubtful: {doubt}" for doubt in seen.doubts)
        rows.append(row)
        if not options.json:
            print(line, flush=True)
    if options.json:
        print(json.dumps(sorted(rows, key=lambda row: str(row["file"])), ensure_ascii=False))
    if failed == len(sources):
        return DataError.exit_code
    return EXIT_PARTIAL if failed or doubtful else 0


def predict_one(source: Source, recogniser: Future[Recogniser], options: argparse.Namespace) -> int:
    """The word and the likeliest ones, or the timeline; and the overlay."""
    if options.overlay:
        if not source.is_clip:
            raise ConfigError(f"{source.name} has no picture to draw on", mend="name the clip, or leave --overlay out")
        check_target(options.overlay, source.path)
    ((_, seen),) = look_at((source,), lambda: _hand_model(options), 1)
    if isinstance(seen, DataError):
        raise DataError(f"{source.name}: {seen.what}", why=seen.why, mend=seen.mend or "name another file")
    for doubt in seen.doubts:
        print(f"{source.name} {doubt}", file=sys.stderr)
    caption: Caption
    if options.timeline:
        if seen.frames_per_second is None:
            print(f"{source.name} does not say its frame rate: {ASSUMED_RATE:g} a second assumed", file=sys.stderr)
        rate = seen.frames_per_second or ASSUMED_RATE
        found = timeline(seen.keypoints, rate, recogniser.result(), Sliding(options.window, options.stride))
        print(json.dumps([asdict(each) for each in found], ensure_ascii=False) if options.json else table(found))
        caption = captions(found, rate)
    else:
        answer = recogniser.result().answer(seen.keypoints, options.top)
        if options.json:
            print(json.dumps({"file": source.name} | as_json(answer, seen), ensure_ascii=False))
        else:
            print("\n".join([str(answer), *(f"  {guess.confidence:7.2%}  {guess.word}" for guess in answer.top)]))
        text = str(answer)

        def caption(_: int) -> str:
            return text

    if options.overlay:
        draw_overlay(source.path, seen.keypoints, caption, options.overlay)
        print(f"overlay in {options.overlay}", file=sys.stderr)
    return 0


def predict_camera(folder: ModelFolder, options: argparse.Namespace) -> int:
    """A line for each word, until Ctrl-C."""
    with Camera(options.camera) as camera:
        recogniser = folder.load()
        with HandTracker(_hand_model(options), Options()) as tracker:
            print(f"camera {options.camera}: sign; Ctrl-C ends it", file=sys.stderr)
            try:
                for word in watch(camera, tracker.track, recogniser, Sliding(options.window, options.stride)):
                    line = json.dumps(asdict(word), ensure_ascii=False) if options.json else _row(word)
                    print(line, flush=True)
            except KeyboardInterrupt:
                return 0
    return 0


def as_json(answer: Answer, seen: Seen) -> dict[str, Any]:
    return {
        "verdict": answer.verdict,
        "word": answer.word,
        "confidence": answer.confidence,
        "top": [asdict(guess) for guess in answer.top],
        "frames": len(seen.keypoints),
        "doubts": list(seen.doubts),
    }


def table(found: tuple[Stretch, ...]) -> str:
    return "\n".join(["   start       end  word (confidence)", *map(_row, found)])


def _row(stretch: Stretch) -> str:
    return f"{_clock(stretch.start)} {_clock(stretch.end)}  {_text(stretch)}"


def _text(stretch: Stretch) -> str:
    return f"{stretch.word} ({stretch.confidence:.1%})" if stretch.word else stretch.verdict


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes):4d}:{rest:04.1f}"


def captions(found: tuple[Stretch, ...], frames_per_second: float) -> Caption:
    """What is said at each frame; nothing where there is no sign."""
    texts = ["" if stretch.verdict == "no sign" else _text(stretch) for stretch in found]
    ends = [stretch.end for stretch in found]

    def caption(frame: int) -> str:
        return texts[min(bisect_right(ends, frame / frames_per_second), len(texts) - 1)]

    return caption


def _hand_model(options: argparse.Namespace) -> Path:
    return find_hand_model(options.hand_model, user_cache(os.environ))


def _run(options: argparse.Namespace) -> int:
    folder = ModelFolder.read(options.model_dir)
    if options.camera is not None:
        if options.input or options.overlay:
            raise ConfigError("--camera takes neither a file nor --overlay", mend="leave one of them out")
        return predict_camera(folder, options)
    if options.input is None:
        raise ConfigError("there is nothing to recognise", mend="name a clip, a keypoint file, a folder, or --camera")
    sources = find_sources(options.input)
    whole_folder = options.input.is_dir()
    if whole_folder and (options.timeline or options.overlay):
        raise ConfigError("--timeline and --overlay take one file, not a folder", mend="name one of its files")
    Sliding(options.window, options.stride)
    with ThreadPoolExecutor(1) as pool:
        recogniser = pool.submit(folder.load)
        if whole_folder:
            return predict_folder(sources, recogniser, options)
        return predict_one(sources[0], recogniser, options)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer.predict", description="Recognise signed words.")
    parser.add_argument("model_dir", type=Path, help="folder that training wrote")
    parser.add_argument("input", type=Path, nargs="?", help="keypoints (.npy), a clip, or a folder of either")
    parser.add_argument("--camera", type=int, nargs="?", const=0, metavar="N", help="live, from camera N (0)")
    parser.add_argument("--top", type=int, default=TOP, metavar="N", help="likeliest words shown")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")
    parser.add_argument("--overlay", type=Path, metavar="OUT.mp4", help="draw hands and answer on the clip")
    parser.add_argument("--timeline", action="store_true", help="words over time")
    parser.add_argument("--window", type=float, default=WINDOW, metavar="SECONDS", help="about as long as a sign")
    parser.add_argument("--stride", type=float, default=STRIDE, metavar="SECONDS", help="between two looks")
    parser.add_argument("--hand-model", type=Path, help="hand_landmarker.task; default: found, or fetched once")
    options = parser.parse_args(arguments)
    if options.top < 1:
        parser.error("--top is at least 1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return EXIT_STOPPED
    except SignspotError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
