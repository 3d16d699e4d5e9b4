"""The usual guide to training on a GPU instance, as a script: what a reader types, and what the guide's project holds.

Leaves: user data for a box, which writes a word and the time down after each phase, and an address to clone from.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REQUIREMENTS = ("mediapipe", "opencv-python", "scikit-learn", "matplotlib", "boto3")
"""Besides TensorFlow: what guides to sign recognition with MediaPipe and Keras install, and boto3 to reach S3."""
MARKS = "/opt/guide/marks"
"""Where the script writes its words."""
TRAIN = """
import csv, time
from pathlib import Path
import keras
import numpy as np
rows = list(csv.DictReader(open("data/dataset.csv")))
labels = sorted({row["label"] for row in rows})
clips = [np.load(Path("data", row["path"])).reshape(-1, 126) for row in rows]
features = np.zeros((len(clips), max(map(len, clips)), 126), np.float32)
for row, clip in zip(features, clips):
    row[: len(clip)] = clip
targets = np.array([labels.index(row["label"]) for row in rows])
model = keras.Sequential([
    keras.Input((None, 126)), keras.layers.Masking(0.0), keras.layers.GRU(128, return_sequences=True),
    keras.layers.GRU(128), keras.layers.Dense(len(labels), activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
class Say(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        with open("../marks", "a") as marks:
            print("stepped", time.time(), file=marks)
model.fit(features, targets, batch_size=32, epochs=1, verbose=0, callbacks=[Say()])
"""
SCRIPT = """#!/bin/bash
set -Eeuo pipefail
work="${SIGNSPOT_ROOT:-}/opt/guide"
mkdir -p "$work" && cd "$work"
mark() { echo "$1 $(date +%s.%N)" >>"$work/marks"; }
trap 'mark failed' ERR
git clone -q "$REPOSITORY" project
cd project
mark cloned
python3 -m venv venv
mark venv
venv/bin/pip install -q -r requirements.txt
mark installed
aws s3 sync --only-show-errors "$DATA" data
mark synced
venv/bin/python train.py
"""


def make_repository(folder: Path) -> None:
    """The guide's own, as a web server without git can serve it."""
    folder.mkdir()
    (folder / "requirements.txt").write_text("\n".join(("tensorflow", *REQUIREMENTS)) + "\n", encoding="utf-8")
    (folder / "train.py").write_text(TRAIN, encoding="utf-8")
    git = ["git", "-C", str(folder), "-c", "user.name=guide", "-c", "user.email=guide@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "guide"], ["update-server-info"]):
        subprocess.run([*git, *command], check=True)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
