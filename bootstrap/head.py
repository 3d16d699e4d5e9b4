"""The head of a cluster: the agent as ever, whose trainer is the driver of all other boxes (`bootstrap/driver.py`)."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

from bootstrap import agent
from bootstrap.state import Box

DRIVER = ("python", "-m", "bootstrap.driver")


def as_head(box: Box) -> Box:
    """What the run trains is trained by the workers; a trainer of the user's own is not needed here."""
    config = box.config
    trainer = config.trainer.model_copy(update={"command": DRIVER})
    run = config.run.model_copy(update={"code": ""})
    return replace(box, config=config.model_copy(update={"trainer": trainer, "run": run}))


if __name__ == "__main__":
    code = agent.main(as_head)
    logging.shutdown()
    os._exit(code)  # no thread that still waits for the network may keep this instance alive
