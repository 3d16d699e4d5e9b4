"""What this laptop brings: tools, address, key, dataset; and whether the image fits the disk."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from botocore.exceptions import ClientError

from cli.cdk import CDK, environment
from cli.keys import OURS, YOURS, check_private, check_public, public_half
from cli.live import Client
from cli.preflight.facts import Dataset, Facts
from cli.preflight.finding import Finding, ask, ask_once, bad, good, unknown, warn
from cli.project import Project
from cli.refusal import code_of

TOOL_SECONDS = 20
DATASET_SECONDS = 40
SPARE_GB = 20
"""What packages, dataset and checkpoints take at most, as a rule; the CUDA wheels alone are several GB."""
CLIPS = (".mp4", ".mov", ".avi", ".webm", ".mkv")
OWN = "not looked into: it is for a trainer of your own (run.code)"


def look_at_tools() -> Iterator[Finding]:
    name, path = "Node and CDK", environment()["PATH"]
    node = shutil.which("node", path=path)
    if node is None or not CDK.exists():
        yield bad(name, "the CDK command line is not here" if node else "there is no node", "make setup")
        return
    command = [str(CDK), "--version"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=TOOL_SECONDS)
    if done.returncode:
        yield bad(name, f"cdk --version ended with {done.returncode}: {done.stderr.strip()[-200:]}", "make setup")
    else:
        yield good(name, f"cdk {done.stdout.split()[0]}")


def look_at_address(project: Project, find_address: Callable[[], str]) -> Iterator[Finding]:
    """Asked only where the door is to be open: who asks is seen."""
    name, access = "own address", project.config.access
    if not access.ssh:
        yield good(name, "SSH is off: no door, no address needed")
        return
    mine = find_address()
    if access.ssh_from in ("auto", mine):
        yield good(name, f"{mine}, and nobody else may knock")
    else:
        yield warn(name, f"{mine}, but access.ssh_from is {access.ssh_from}", "-c ssh_from=auto, to let this laptop in")


def look_at_key(project: Project, home: Path) -> Iterator[Finding]:
    """Looks, and makes none: `signspot key` and a deploy do."""
    name, access = "SSH key", project.config.access
    if not access.ssh:
        yield good(name, "SSH is off: no key needed")
        return
    text = access.public_key.strip()
    if text.startswith("ssh-ed25519 "):
        yield good(name, "in access.public_key")
        return
    files = [project.folder / Path(text).expanduser()] if text else [public_half(home / one) for one in (YOURS, OURS)]
    there = [file for file in files if file.exists()]
    if not there and text:
        yield bad(name, f"access.public_key: there is no {files[0]}", "-c public_key=$(signspot key)")
    elif not there:
        yield warn(name, "there is none; a deploy makes ~/.ssh/signspot_ed25519", "signspot key")
    else:
        check_public(there[0])
        private = there[0].with_suffix("")
        if private.exists():
            check_private(private)
        yield good(name, str(there[0]))


def look_at_image(client: Client, project: Project) -> Iterator[Finding]:
    """That the parameter names an image, and that the volume holds it."""
    machine, region = project.config.machine, client("ssm").meta.region_name
    parameters = ask(client("ssm"), "get_parameters", Names=[machine.ami_parameter])["Parameters"]
    if not parameters:
        mend = "-c ami_parameter=...: aws ssm get-parameters-by-path --recursive --path /aws/service/deeplearning/ami"
        yield bad("image", f"{region} has no parameter {machine.ami_parameter}", mend)
        return
    images = ask(client("ec2"), "describe_images", ImageIds=[parameters[0]["Value"]])["Images"]
    if not images:
        yield bad("image", f"{parameters[0]['Value']}: there is no such image", "another machine.ami_parameter")
        return
    (image,) = images
    yield good("image", f"{image['ImageId']} {image.get('Name', '')}".strip())
    disks = [disk.get("Ebs", {}).get("VolumeSize", 0) for disk in image.get("BlockDeviceMappings", [])]
    takes, volume = max(disks, default=0), machine.volume_gb
    if takes > volume:
        yield bad("disk", f"{volume} GB; the image needs {takes}", f"-c volume_gb={takes + SPARE_GB}")
    elif volume - takes < SPARE_GB:
        yield warn("disk", f"{volume} GB; the image takes {takes} of them", f"-c volume_gb={takes + SPARE_GB}")
    else:
        yield good("disk", f"{volume} GB; the image takes {takes} of them")


def look_at_code(project: Project) -> Iterator[Finding]:
    """A trainer of the user's own: is it there, and what will be brought with it?"""
    folder = (project.folder / Path(project.config.run.code).expanduser()).resolve()
    command = " ".join(project.config.trainer.command)
    if not folder.is_dir():
        yield bad("trainer", f"there is no folder {folder}", "set run.code to the folder of your trainer")
        return
    wanted = "" if (folder / "requirements.txt").exists() else "; no requirements.txt: Python and nothing else"
    yield good("trainer", f"{command}; {_size(folder) / 1e6:.1f} MB in {folder}{wanted}")


def look_at_dataset(project: Project, facts: Facts) -> Iterator[Finding]:
    """Every file of a local dataset is read, by the trainer's own code. Fills in `facts.dataset`."""
    folder, table = project.data, project.config.data.table
    assert folder is not None
    mend = f"signspot dataset {folder}"
    if not folder.is_dir():
        yield bad("dataset", f"there is no folder {folder}", "signspot init finds yours; or -c data.path=...")
        return
    if project.config.run.code:
        yield good("dataset", f"{_size(folder) / 1e6:.1f} MB; {OWN}")
        return
    if project.config.run.job == "extract":
        yield _clips(folder)
        return
    if not (folder / table).exists():
        yield bad("dataset", f"{folder} has no {table}", mend)
        return
    command = [sys.executable, "-m", "trainer.prepare", "--dry-run", "--json", f"--table={table}", "--", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DATASET_SECONDS)
    except subprocess.TimeoutExpired:
        yield unknown("dataset", f"not read within {DATASET_SECONDS} s", mend)
        return
    if not done.stdout.startswith("{"):
        yield bad("dataset", done.stderr.strip().splitlines()[0] if done.stderr.strip() else "unreadable", mend)
        return
    report = json.loads(done.stdout)
    words: dict[str, dict[str, int]] = report["words"]
    splits = {split: sum(word[split] for word in words.values()) for split in ("train", "val", "test")}
    facts.dataset = Dataset(clips=report["clips"], words=len(words), splits=splits, bytes=_size(folder))
    text = f"{_described(facts.dataset)}, {facts.dataset.bytes / 1e6:.1f} MB"
    problems = [*report["errors"], *report["warnings"]]
    first = f"; {problems[0]['text']}" if problems else ""
    if report["errors"]:
        yield bad("dataset", f"{text}: {len(report['errors'])} errors{first}", mend)
    elif folder == project.folder:
        text += "; it is the folder of signspot.toml: all of it is uploaded, results too"
        yield warn("dataset", text, "put the dataset into a folder of its own, and name that in data.path")
    elif report["added"]:
        yield warn("dataset", f"{text}; {report['added']} of them are files that the table does not have yet", mend)
    elif report["warnings"]:
        yield warn("dataset", f"{text}: {len(report['warnings'])} warnings{first}", mend)
    else:
        yield good("dataset", text)


def look_at_dataset_in_s3(client: Client, project: Project, facts: Facts) -> Iterator[Finding]:
    """The table alone is read. Fills in `facts.dataset`."""
    if project.config.run.code:
        yield good("dataset", f"{project.config.data.path}; {OWN}")
        return
    if project.config.run.job == "extract":
        yield good("dataset", f"{project.config.data.path}: clips, which the head looks into")
        return
    bucket, _, prefix = project.config.data.path.removeprefix("s3://").partition("/")
    key = "/".join(part for part in (prefix.strip("/"), project.config.data.table) if part)
    try:
        body = ask_once(client("s3"), "get_object", Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        yield bad("dataset", f"s3://{bucket}/{key}: {code_of(error)}", "aws s3 cp --recursive FOLDER s3://...")
        return
    try:
        rows = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"))))
        labels, counted = {row["label"] for row in rows}, Counter(row["split"] for row in rows)
    except (UnicodeDecodeError, KeyError, csv.Error) as error:
        yield bad("dataset", f"s3://{bucket}/{key} is no table: {error!r}", "columns: path,label,split")
        return
    facts.dataset = Dataset(clips=len(rows), words=len(labels), splits=dict(counted))
    if not rows:
        yield bad("dataset", f"s3://{bucket}/{key} lists nothing", "signspot dataset FOLDER, then upload it again")
    else:
        yield good("dataset", f"{_described(facts.dataset)}; its files are checked on the box")


def _clips(folder: Path) -> Finding:
    """What is to be extracted: clips need no table."""
    clips = sum(1 for path in folder.rglob("*") if path.suffix.lower() in CLIPS)
    if not clips:
        return bad("dataset", f"{folder} has no clip ({', '.join(CLIPS)})", "-c data.path=... names your clips")
    return good("dataset", f"{clips} clips, {_size(folder) / 1e6:.1f} MB")


def _described(dataset: Dataset) -> str:
    splits = ", ".join(f"{name} {number}" for name, number in dataset.splits.items())
    return f"{dataset.clips} clips of {dataset.words} words ({splits})"


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
