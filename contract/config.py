"""`signspot.toml` → one frozen tree of settings, validated once, before anything is created.

Enters: the TOML file and `-c name=value` overrides. Leaves: a `Config`; each consumer is
given only its section. Defaults live here and nowhere else. The docstring under a field is
its documentation and becomes the comment in the file that `signspot init` writes.
"""

from __future__ import annotations

import ipaddress
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from contract.errors import ConfigError

MINIMUM_MINUTES = 10
"""A box that may live for less than this cannot boot, install and train anything."""
MAXIMUM_HOURS = 168
"""No run may have more than a week, extensions included."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RunConfig(Section):
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,29}$")] = "signspot"
    """Names the run, its stack `signspot-<name>` and its prefix in the bucket: a-z, 0-9 and -, at most 30."""
    keep_results: bool = False
    """True: `cdk destroy` leaves the bucket, with everything in it, standing."""
    code: str = ""
    """Folder with a trainer of your own, brought to the box, and what its requirements.txt names; empty: signspot's."""
    job: Literal["train", "sweep", "extract"] = "train"
    """What the boxes do: train one model; many, as `run.sweep` says; or turn clips into keypoints (machine.boxes)."""
    sweep: str = ""
    """File that says which settings a sweep tries and how long, as for `signspot sweep`."""


class DataConfig(Section):
    path: str = "data/sample"
    """Folder of keypoint files with its table, or an `s3://bucket/prefix` that holds the same."""
    table: str = "dataset.csv"
    """CSV in that folder with the columns path,label,split and optionally signer."""


class TrainerConfig(Section):
    command: tuple[str, ...] = ("python", "-m", "trainer.train")
    """What the agent starts. It speaks SageMaker's training contract and nothing else."""
    epochs: int = Field(60, ge=1, le=100_000)
    """Passes over the training split at most."""
    patience: int = Field(10, ge=1, le=100_000)
    """Early stopping: epochs without a better validation loss before training ends."""
    batch_size: int = Field(32, ge=1, le=65_536)
    """Sequences per optimiser step."""
    learning_rate: float = Field(2e-3, gt=0, le=1)
    """Step size of Adam, after the warm-up."""
    layers: int = Field(1, ge=1, le=8)
    """GRU layers, one on top of the other."""
    units: int = Field(128, ge=1, le=4096)
    """Units of each GRU layer."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of channels dropped while training: of what each convolution and GRU layer gets, and attention gives."""
    convolutions: int = Field(2, ge=0, le=16)
    """Convolutions over a few frames each, of as many channels as `units`, before the GRU."""
    bidirectional: bool = True
    """True: a second GRU in each layer reads the clip from its end."""
    pooling: Literal["last", "attention"] = "attention"
    """What the word is told from: the GRU's last state, or all frames, each as much as it matters."""
    augment: bool = True
    """True: each clip is learnt from in a new variation every epoch: pace, cut, camera, hand, frames lost."""
    nonsense: float = Field(0.05, ge=0, lt=1)
    """Share of clips that become hands signing nothing, with `augment`, where the dataset has the word `_none`."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Share of certainty that training gives to all words alike, so that the model is not too sure of itself."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """How the step size goes on after its warm-up: the same to the end, or down to 0 in the last of all epochs."""
    warmup_epochs: float = Field(3, ge=0, le=1000)
    """Epochs in which the step size grows from near 0 to learning_rate."""
    weight_decay: float = Field(0.02, ge=0, le=10)
    """Share of each weight (biases and norms left alone) that shrinks away, per step and unit of step size (AdamW)."""
    clip_norm: float = Field(0, ge=0, le=1e6)
    """Longest gradient, all of it taken together, that a step follows; longer ones are shortened; 0: any."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: a clip counts the more, the rarer its word is in training: all clips / (words × clips of the word)."""
    mixed_precision: Literal["auto", "off"] = "auto"
    """auto: on a GPU most is computed in 16 bits, which is faster; without one, and with off, in 32."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """Seed of everything random: initial weights, order of the data, dropout, variations."""


class MachineConfig(Section):
    instance_types: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$")], ...] = Field(
        ("g4dn.xlarge",), min_length=1, max_length=10
    )
    """Instance types in order of preference; every further one is a fallback that must also do."""
    volume_gb: int = Field(100, ge=75, le=16_000)
    """Root volume in GB (gp3, encrypted, deleted with the instance); the image alone takes about 65."""
    boxes: int = Field(1, ge=1, le=64)
    """Spot instances that share the work, for run.job sweep or extract; from 2 on, a small head gives them theirs."""
    head_type: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$")] = "m5a.large"
    """On-demand type of that head, x86_64; no burstable one (t2, t3, t3a): it throttles, or costs more than it says."""
    ami_parameter: str = "/aws/service/deeplearning/ami/x86_64/base-with-single-cuda-ubuntu-24.04/latest/ami-id"
    """Public SSM parameter that names the machine image."""

    @field_validator("head_type")
    @classmethod
    def _costs_what_it_says(cls, value: str) -> str:
        """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-performance-instances-unlimited-mode.html"""
        if value.startswith("t") and value[1:2].isdigit():
            raise ValueError(f"{value} is burstable: surplus credits cost more than the price; take m5a.large")
        return value


class LimitsConfig(Section):
    max_hours: float = Field(8.0, gt=0, le=MAXIMUM_HOURS)
    """Hours from the first deploy in which the run is ended from outside, whatever happens; `signspot extend` adds."""
    max_usd: float = Field(5.0, gt=0, le=10_000)
    """Dollars of instance time that the run may cost at most; its volume and address add about $0.02 an hour."""
    max_price_per_hour: float = Field(0.526, ge=0.001, le=100)
    """Highest spot price accepted, in dollars an hour. Default: on-demand g4dn.xlarge, us-east-1."""
    head_price_per_hour: float = Field(0.086, ge=0.001, le=100)
    """On-demand price of machine.head_type, where machine.boxes > 1. Default: m5a.large, us-east-1."""
    max_attempts: int = Field(5, ge=1, le=100)
    """Boots in a row without a new checkpoint, or trainer failures, before the run is given up."""
    grace_seconds: float = Field(60, ge=1, le=110)
    """What the trainer gets to save itself after a notice before it is killed."""

    stall_minutes: float = Field(20, gt=0, le=1440)
    """Minutes without a step (epoch, metric; before the first step: a line of log) until the trainer is restarted."""
    idle_minutes: float = Field(30, gt=0, le=1440)
    """Minutes with a GPU below 5 % after which the run is ended; without a GPU those in which the trainer stalls."""

    def usd_per_hour(self, boxes: int) -> float:
        """Dollars an hour that so many boxes cost at most, the head of several included."""
        return boxes * self.max_price_per_hour + (self.head_price_per_hour if boxes > 1 else 0)

    def hours(self, boxes: int) -> float:
        """Hours the run is allowed: `max_hours`, or what `max_usd` buys at the highest price, if less."""
        return min(self.max_hours, self.max_usd / self.usd_per_hour(boxes))

    def require_enough(self, boxes: int) -> None:
        """Raises ValueError: the limits do not buy what a box needs to come up."""
        minutes = self.hours(boxes) * 60
        if minutes < MINIMUM_MINUTES:
            several = f" × {boxes} boxes + head_price_per_hour={self.head_price_per_hour:g}" if boxes > 1 else ""
            raise ValueError(
                f"max_hours={self.max_hours:g} and max_usd={self.max_usd:g} at max_price_per_hour="
                f"{self.max_price_per_hour:g}{several} buy {minutes:.1f} minutes, fewer than {MINIMUM_MINUTES}"
            )

    @model_validator(mode="after")
    def _buys_enough(self) -> LimitsConfig:
        self.require_enough(1)
        return self


class AccessConfig(Section):
    ssh_from: str = "none"
    """Who may reach port 22: `none`, `auto` (this laptop: `-c ssh_from=$(signspot address)`), one /32 or IPv6 /128."""
    public_key: str = ""
    """Your ed25519 public SSH key, its text or its path; `-c public_key=$(signspot key)` finds or makes one."""
    i_know_that_ssh_is_open_to_many_addresses: bool = False
    """True: ssh_from may be a network wider than one address. Do not."""

    @field_validator("ssh_from")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if value in ("none", "auto"):
            return value
        try:
            return str(ipaddress.ip_network(value))
        except ValueError as error:
            raise ValueError(f"{value!r} is not an address such as 203.0.113.7/32 ({error})") from None

    @property
    def ssh(self) -> bool:
        return self.ssh_from != "none"

    @property
    def addresses(self) -> int:
        """How many addresses may knock; `auto` is one."""
        if self.ssh_from in ("none", "auto"):
            return int(self.ssh)
        return ipaddress.ip_network(self.ssh_from).num_addresses

    @model_validator(mode="after")
    def _one_address(self) -> AccessConfig:
        if self.addresses > 1 and (self.ssh_from.endswith("/0") or not self.i_know_that_ssh_is_open_to_many_addresses):
            raise ValueError(
                f"ssh_from={self.ssh_from} would let {self.addresses:,} addresses knock; "
                "give one, such as 203.0.113.7/32"
            )
        return self


class SyncConfig(Section):
    checkpoint_seconds: float = Field(30, ge=1, le=3600)
    """Seconds between two checkpoints of the trainer: what a kill without notice may cost."""
    checkpoint_steps: int = Field(0, ge=0, le=10_000_000)
    """Optimiser steps between two checkpoints, where that comes sooner; 0: only seconds count."""
    stale_seconds: float = Field(0, ge=0, le=86_400)
    """Seconds without a new verified checkpoint after which a run is stale; 0: ten intervals, at least 300."""
    heartbeat_seconds: float = Field(15, ge=1, le=300)
    """Seconds between two writes of status.json while nothing else happens."""
    keep_checkpoints: int = Field(3, ge=2, le=100)
    """Newest checkpoints kept in the bucket, besides the one with the best val_loss."""

    @property
    def stale_after(self) -> float:
        """`stale_seconds`, or its default in seconds."""
        return self.stale_seconds or max(300.0, 10 * self.checkpoint_seconds)


class NotifyConfig(Section):
    email: Annotated[str, StringConstraints(pattern=r"^$|^[^@\s]+@[^@\s]+\.[^@\s]+$")] = ""
    """Address told when the run is interrupted, resumed, stalled, failed or done; empty: nobody is."""
    monthly_budget_usd: float = Field(0, ge=0, le=1_000_000)
    """Dollars a month; `email` is told at 50, 80 and 100 % of them, and when 100 % is forecast; 0: no budget."""
    budget_of_run_only: bool = False
    """True: it counts what is tagged `signspot:run`, once that tag is activated in Billing; else the account."""

    @model_validator(mode="after")
    def _address_for_budget(self) -> NotifyConfig:
        if self.monthly_budget_usd and not self.email:
            raise ValueError("monthly_budget_usd is set but email is empty: nobody would be told")
        return self


class Config(Section):
    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    trainer: TrainerConfig = TrainerConfig()
    machine: MachineConfig = MachineConfig()
    limits: LimitsConfig = LimitsConfig()
    access: AccessConfig = AccessConfig()
    sync: SyncConfig = SyncConfig()
    notify: NotifyConfig = NotifyConfig()

    @property
    def hours(self) -> float:
        """Hours the run is allowed, with all its boxes."""
        return self.limits.hours(self.machine.boxes)

    @model_validator(mode="after")
    def _work_can_be_shared(self) -> Config:
        job, boxes = self.run.job, self.machine.boxes
        if boxes > 1 and job == "train":
            raise ValueError(
                f"machine.boxes={boxes}, but one model is trained on one box; set run.job to sweep or extract, "
                "or machine.boxes to 1"
            )
        if boxes == 1 and job != "train":
            raise ValueError(
                f"run.job={job} is for several boxes; set machine.boxes to 2 or more, or do it on this laptop: "
                f"signspot {job}"
            )
        if job == "sweep" and not self.run.sweep:
            raise ValueError("run.job=sweep, but run.sweep names no file; give yours, such as sweep.toml")
        self.limits.require_enough(boxes)
        return self

    @model_validator(mode="after")
    def _own_code_is_started(self) -> Config:
        if self.run.code and self.trainer.command == TrainerConfig().command:
            raise ValueError(
                "run.code names a trainer of your own, but trainer.command still starts signspot's; "
                'give yours, such as ["python", "train.py"]'
            )
        return self


def _section(name: str) -> type[Section]:
    section = Config.model_fields[name].annotation
    assert isinstance(section, type) and issubclass(section, Section)
    return section


def leaves() -> Iterator[tuple[str, str]]:
    """Every setting as (section, name)."""
    for section in Config.model_fields:
        for name in _section(section).model_fields:
            yield section, name


def override_names() -> dict[str, tuple[str, str]]:
    """Every spelling accepted after `-c`: the dotted path, the bare name where it is unique, `run` for run.name."""
    by_name: dict[str, list[tuple[str, str]]] = {}
    for leaf in leaves():
        by_name.setdefault(leaf[1], []).append(leaf)
    names = {f"{section}.{name}": (section, name) for section, name in leaves()}
    names |= {name: found[0] for name, found in by_name.items() if len(found) == 1}
    return names | {"run": ("run", "name")}


def load_config(path: Path | None, overrides: Mapping[str, str] | None = None) -> Config:
    """Read the TOML file (all defaults when `path` is None), lay the overrides on top, validate.

    Raises:
        ConfigError: unreadable file, unknown key, wrong type or a value out of range; one message
            names every offending setting.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(
                f"{path} does not exist", mend="run from the project's folder, or name the file"
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise ConfigError(f"{path} cannot be read", why=str(error), mend="correct the file") from None
    names = override_names()
    for key, text in (overrides or {}).items():
        if key not in names:
            raise ConfigError(
                f"-c {key}={text}: there is no setting {key!r}{_did_you_mean(key, names)}",
                mend=f"use one of: {', '.join(sorted(n for n in names if '.' in n))}",
            )
        section, name = names[key]
        branch = tree.setdefault(section, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"{path}: {section!r} must be a section, [{section}]", mend="correct the file")
        branch[name] = text if _is_text(section, name) else _parse(text)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, str(path or "settings")), mend=_MEND) from None


_MEND = "correct signspot.toml or the -c override; signspot.toml's comments give each setting's unit and range"


def _is_text(section: str, name: str) -> bool:
    return _section(section).model_fields[name].annotation is str


def _parse(text: str) -> Any:
    """JSON's idea of the text (numbers, booleans, lists), else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _did_you_mean(key: str, names: Mapping[str, object]) -> str:
    import difflib

    close = difflib.get_close_matches(key, names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _explain(error: ValidationError, source: str) -> str:
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            section = item["loc"][0] if len(item["loc"]) > 1 else ""
            known = {n: 0 for s, n in leaves() if s == section} or dict.fromkeys(Config.model_fields, 0)
            message = f"there is no such setting{_did_you_mean(str(item['loc'][-1]), known)}"
        elif not isinstance(item["input"], dict | BaseModel):
            message += f" (got {item['input']!r})"
        lines.append(f"{source}: {where}: {message}")
    return "\n".join(lines)
