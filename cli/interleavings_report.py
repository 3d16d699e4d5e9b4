"""What interleavings found: one story each, added up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pydantic import BaseModel, Field, computed_field

FILE = "interleavings.json"


@dataclass
class Story:
    """One interleaving: what was done, and what is wrong with what followed."""

    number: int
    told: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    boxes: int = 0
    seconds: float = 0.0
    phase: str = "pending"
    """Of the run, when it was destroyed."""


class Summary(BaseModel):
    """What a campaign has found so far."""

    command: str
    seed: int
    asked: int
    code: tuple[str, ...]
    """Fingerprints of what the boxes ran."""
    interleavings: int = 0
    seconds: float = 0.0
    boxes: int = 0
    instance_seconds: float = 0.0
    actions: dict[str, int] = Field(default_factory=dict)
    phases: dict[str, int] = Field(default_factory=dict)
    """In which the runs were when they were destroyed."""
    wrong: dict[int, list[str]] = Field(default_factory=dict)
    """What was, by the number of the interleaving."""

    def with_story(self, story: Story, seconds: float) -> Summary:
        actions = Counter(self.actions) + Counter(word.partition(" of ")[0] for word in story.told)
        return self.model_copy(
            update={
                "interleavings": self.interleavings + 1,
                "seconds": round(self.seconds + seconds, 1),
                "boxes": self.boxes + story.boxes,
                "instance_seconds": round(self.instance_seconds + story.seconds, 1),
                "actions": dict(sorted(actions.items())),
                "phases": dict(sorted((Counter(self.phases) + Counter([story.phase])).items())),
                "wrong": self.wrong | ({story.number: story.wrong} if story.wrong else {}),
            }
        )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def good(self) -> bool:
        """Nothing was wrong."""
        return not self.wrong

    @property
    def sentence(self) -> str:
        phases = ", ".join(f"{phase} {count}" for phase, count in self.phases.items())
        return (
            f"`{self.command}` played {self.interleavings} of {self.asked} interleavings (seed {self.seed}): "
            f"{sum(self.actions.values())} actions, {self.boxes} instances, {self.instance_seconds:.0f} s of instance "
            f"time, in {self.seconds / 60:.0f} minutes. What the runs were when they were destroyed: {phases}. After "
            f"{len(self.wrong)} of them an instance lived, a resource was left or a ceiling was exceeded."
        )
