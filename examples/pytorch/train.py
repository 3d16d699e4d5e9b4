"""A PyTorch trainer that survives interruptions: docs/your-own-trainer.md says why each line is there."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

checkpoints, final, output = (Path(os.environ[f"SM_{name}_DIR"]) for name in ("CHECKPOINT", "MODEL", "OUTPUT"))
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)
model = torch.nn.Linear(2, 1).to(device)  # yours; the data that data.path names is in os.environ["SM_CHANNEL_TRAINING"]
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
step, steps, stop = 0, 400, []
signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
if found := sorted(checkpoints.glob("step-*.pt")):
    saved = torch.load(found[-1], map_location=device)
    step = saved["step"]
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
print("begins at step", step, flush=True)


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Whole or not at all: what ends in .tmp is not brought to S3."""
    save(path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


while step < steps:
    torch.manual_seed(step)  # whatever is random is a function of the step: no interruption changes the result
    x = torch.randn(32, 2, device=device)
    loss = torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step += 1
    told = json.dumps({"step": step, "steps": steps, "metrics": {"loss": loss.item()}})
    write(output / "progress.json", lambda path, told=told: path.write_text(told))
    if stop or step % 50 == 0:
        state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        write(checkpoints / f"step-{step:08d}.pt", lambda path, state=state: torch.save(state, path))
        for old in sorted(checkpoints.glob("step-*.pt"))[:-1]:
            old.unlink()
    if stop:
        sys.exit(75)
write(final / "model.pt", lambda path: torch.save(model.state_dict(), path))
