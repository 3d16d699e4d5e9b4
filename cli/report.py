"""`signspot report`: a run as one HTML file. Enters: a run of the account, or a folder that `fetch` or `train` left.
Leaves: the page; what could not be found out is said in it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel, ValidationError

from cli.cost import receipt_of
from cli.download import whole
from cli.fetch import NoSuchRun, Source, stack_outputs
from cli.live import Client
from cli.traces import traces_in, traces_of
from contract.errors import DataError, SignspotError
from contract.layout import RunLayout
from contract.report import METRICS, PARTS, read_training
from contract.run_report import Found, page_of
from contract.status import Manifest, Status


class Written(BaseModel):
    report: str
    """Path of the page."""


def is_folder(named: str) -> bool:
    """Whether it is a folder with something of a run in it; if not, it is taken for a run's name."""
    folder = Path(named)
    return any((folder / part).exists() for part in ("model", "events.jsonl", *PARTS)) or "/" in named


def home_of(folder: Path) -> Path:
    """The run's folder, where its model's is named: what is in that one verifies, and is not written to."""
    folder = folder.resolve()
    return folder.parent if folder.name == "model" and not (folder / "model").is_dir() else folder


def find_in(folder: Path, client: Client, now: datetime) -> Found:
    """What `fetch` or `train` left in a run's folder; AWS is asked for prices alone, and need not answer.

    Raises:
        DataError: nothing of a run is there.
    """
    model = folder / "model" if (folder / "model").is_dir() else folder
    found = Found(folder.name, read_training(model))
    with suppress(OSError, ValidationError):
        found.status = Status.model_validate_json((folder / "status.json").read_bytes())
        found.name = found.status.run
    if (folder / "events.jsonl").exists():
        found.events = traces_in(folder).events
        try:
            found.receipt = receipt_of(client, found.name, now, folder=folder)
        except SignspotError as error:
            found.no_receipt = f"There is no receipt: {error.what}. {error.why}"
    if found.training.empty and not found.events and not found.status:
        raise DataError(
            f"{folder} holds nothing of a run",
            why=f"neither events.jsonl nor a model's {METRICS} is there",
            mend="name the folder that `signspot fetch` or `signspot train` wrote, or a run of the account",
        )
    return found


def find_run(run: str, client: Client, now: datetime) -> Found:
    """A run of the account, from its bucket.

    Raises:
        CloudError: there is no such run, or AWS refuses.
        StorageError: S3 refuses, or the model does not verify.
    """
    try:
        outputs = stack_outputs(client("cloudformation"), run)
    except NoSuchRun as error:
        mend = f"{error.mend}; or name what was fetched: signspot report results/{run}"
        raise NoSuchRun(error.what, why=error.why, mend=mend) from error
    source = Source(client("s3"), outputs["Bucket"], RunLayout(run))
    with TemporaryDirectory(prefix="signspot-report-") as folder:
        if manifest := source.read(source.layout.model_manifest, Manifest):
            files = tuple(file for file in manifest.files if file.name in PARTS)
            some = manifest.model_copy(update={"files": files})
            source.fetch_set("model", some, source.layout.model, Path(folder))
        found = Found(run, read_training(Path(folder)))
    found.status = source.read(source.layout.status, Status)
    found.events = traces_of(client, run, outputs, now).events
    try:
        found.receipt = receipt_of(client, run, now, outputs=outputs)
    except SignspotError as error:
        found.no_receipt = f"There is no receipt: {error.what}. {error.why}"
    return found


def write(found: Found, place: Path, now: datetime) -> Written:
    """Raises StorageError: it cannot be written there."""
    with whole(place) as temporary:
        temporary.write_text(page_of(found, now), encoding="utf-8")
    return Written(report=str(place))
