"""A trainer that learns nothing and takes seconds. Enters: how it behaves, and how many steps. Leaves: what any
trainer leaves by the training contract: checkpoints, progress, a model, an exit code.

The box runs it as `python -c` with this text: it needs nothing but Python. In the moment in which it
begins to misbehave it touches `fault` in SM_OUTPUT_DIR.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

STEP_SECONDS = 0.25
SAVE_EVERY = 2
HANGS_AT = 4
EXIT_SAVED = 75


def write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text)
    temporary.replace(path)


def train(behaviour: str, steps: int) -> int:
    checkpoints, output, model = (
        Path(os.environ[name]) for name in ("SM_CHECKPOINT_DIR", "SM_OUTPUT_DIR", "SM_MODEL_DIR")
    )
    asked_to_stop: list[int] = []
    deaf = behaviour == "deaf"
    signal.signal(signal.SIGTERM, signal.SIG_IGN if deaf else lambda number, _: asked_to_stop.append(number))
    saved = sorted(int(path.stem.partition("-")[2]) for path in checkpoints.glob("step-*.ckpt"))
    step = saved[-1] if saved else 0
    print("resumed at step", step, flush=True)
    if behaviour == "crash":
        (output / "fault").touch()
        write(output / "failure", "it crashes at once, always")
        return 1

    def save() -> None:
        write(checkpoints / f"step-{step}.ckpt", "x" * step)
        for old in checkpoints.glob("step-*.ckpt"):
            if old.name != f"step-{step}.ckpt":
                old.unlink()

    while step < steps:
        time.sleep(STEP_SECONDS)
        step += 1
        write(output / "progress.json", json.dumps({"step": step, "steps": steps}))
        print("step", step, flush=True)
        if asked_to_stop:
            save()
            return EXIT_SAVED
        if step % SAVE_EVERY == 0 and behaviour != "barren":
            save()
        if behaviour == "hang" and step >= HANGS_AT:
            (output / "fault").touch()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(86_400)
    write(model / "model.txt", f"trained to step {step}")
    (output / "fault").touch()
    return 0


if __name__ == "__main__":
    sys.exit(train(sys.argv[1], int(sys.argv[2])))
