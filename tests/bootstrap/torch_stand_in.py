"""As much of PyTorch as examples/pytorch/train.py asks of it, in plain Python: gradient, Adam and files are real.

PyTorch itself is not among our packages. What this cannot show is that PyTorch's own functions behave like these.
"""

from __future__ import annotations

import pickle
import random
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Batch(list[list[float]]):
    def sum(self, _axis: int, keepdim: bool) -> Batch:
        assert keepdim
        return Batch([[sum(row)] for row in self])


class Linear:
    def __init__(self, inputs: int, _outputs: int) -> None:
        self.weights = [random.uniform(-1, 1) for _ in range(inputs)]
        self.gradient = [0.0] * inputs

    def to(self, _device: str) -> Linear:
        return self

    def parameters(self) -> Linear:
        return self

    def __call__(self, x: Batch) -> tuple[Linear, Batch]:
        return self, x

    def state_dict(self) -> dict[str, Any]:
        return {"weights": list(self.weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights = list(state["weights"])


class Loss:
    def __init__(self, prediction: tuple[Linear, Batch], wanted: Batch) -> None:
        self.model, self.x = prediction
        predicted = [sum(w * v for w, v in zip(self.model.weights, row, strict=True)) for row in self.x]
        self.errors = [one - row[0] for one, row in zip(predicted, wanted, strict=True)]

    def item(self) -> float:
        return sum(error**2 for error in self.errors) / len(self.errors)

    def backward(self) -> None:
        for at in range(len(self.model.gradient)):
            terms = (2 * error * row[at] for error, row in zip(self.errors, self.x, strict=True))
            self.model.gradient[at] += sum(terms) / len(self.errors)


class Adam:
    def __init__(self, model: Linear, lr: float) -> None:
        self.model, self.lr = model, lr
        self.state: dict[str, Any] = {
            "steps": 0,
            "mean": [0.0] * len(model.weights),
            "square": [0.0] * len(model.weights),
        }

    def zero_grad(self) -> None:
        self.model.gradient = [0.0] * len(self.model.gradient)

    def step(self) -> None:
        time.sleep(0.001)
        self.state["steps"] += 1
        for at, slope in enumerate(self.model.gradient):
            mean = self.state["mean"][at] = 0.9 * self.state["mean"][at] + 0.1 * slope
            square = self.state["square"][at] = 0.999 * self.state["square"][at] + 0.001 * slope**2
            mean, square = mean / (1 - 0.9 ** self.state["steps"]), square / (1 - 0.999 ** self.state["steps"])
            self.model.weights[at] -= self.lr * mean / (square**0.5 + 1e-8)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.state["steps"], "mean": list(self.state["mean"]), "square": list(self.state["square"])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


def randn(rows: int, columns: int, device: str) -> Batch:
    assert device == "cpu"
    return Batch([[random.gauss(0, 1) for _ in range(columns)] for _ in range(rows)])


def save(what: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(what))


def load(path: Path, map_location: str) -> Any:
    assert map_location == "cpu"
    return pickle.loads(path.read_bytes())


manual_seed = random.seed
cuda = SimpleNamespace(is_available=lambda: False)
nn = SimpleNamespace(Linear=Linear, functional=SimpleNamespace(mse_loss=Loss))
optim = SimpleNamespace(Adam=Adam)
print("torch is a stand-in, below", sys.prefix)
