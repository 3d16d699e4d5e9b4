"""How often to checkpoint. Enters: what saving and uploading one took. Leaves: an interval, a verdict.

See docs/decisions/0004-pace.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from contract.config import Config

NOTICE_SECONDS = 120
HEARD_SECONDS = 2
"""Until the agent has heard of it."""
MARGIN_SECONDS = 10
"""For the step under way, the status, and what varies from one upload to the next."""
USABLE_SECONDS = NOTICE_SECONDS - HEARD_SECONDS - MARGIN_SECONDS
SEEN_SECONDS = 1
"""Until the agent has seen that there is a new checkpoint."""
UNMEASURED_SECONDS = 1
"""Assumed of saving and uploading together before the first one was measured."""


@dataclass(frozen=True)
class Pace:
    interval_seconds: float
    """Between two checkpoints, as the trainer should go on."""
    warning: str = ""
    """For a person, when a checkpoint does not fit into a notice."""

    @classmethod
    def of(cls, config: Config, save_seconds: float, upload_seconds: float) -> Pace:
        """The interval that keeps the promise, and a warning when a checkpoint does not fit into a notice.

        `checkpoint_seconds` promises what a kill may cost. What counts then is the newest *committed* checkpoint,
        at most interval + save + upload old, so the interval is shorter by these two. It is never shorter than
        they are: checkpoints that nobody can upload only slow the training down.
        """
        promised = config.sync.checkpoint_seconds
        cost, grace = save_seconds + upload_seconds, config.limits.grace_seconds
        behind = SEEN_SECONDS + (cost or UNMEASURED_SECONDS)
        interval = round(min(promised, max(promised - behind, behind)), 1)
        if cost <= USABLE_SECONDS and save_seconds <= grace:
            return cls(interval)
        what = f"saving a checkpoint takes about {save_seconds:.0f} s and committing it {upload_seconds:.0f} s"
        limit = f"a notice leaves {USABLE_SECONDS} s, {grace:g} of them to save (limits.grace_seconds)"
        lost = interval + behind if behind <= interval else interval + 2 * behind
        return cls(
            interval,
            f"{what}; {limit}. Checkpoints every {interval:.0f} s: an interruption costs up to {lost:.0f} s of work",
        )
