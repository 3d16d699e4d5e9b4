"""`signspot dataset`. Enters: a folder of keypoint files. Leaves: its table, and a report of what is wrong with it.

    python -m trainer.prepare FOLDER

Rows that a table has already stay as they are, split included, unless `--resplit`; new files are added.
Files that cannot be used are not. Exit codes: 0 fine, 3 there are errors, 130 interrupted (the table is
as it was).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from contract.errors import ConfigError, DataError, SignspotError
from trainer.check import (
    Clip,
    Finding,
    balance,
    balance_lines,
    check_clips,
    check_table,
    error,
    finding_lines,
    read_clip,
    warning,
)
from trainer.dataset import fingerprint
from trainer.scan import KEYPOINTS, Found, SignerNames, scan
from trainer.splits import grouped, stratified
from trainer.table import SIGNER, SPLITS, Row, parse_table, read_table, write_table


@dataclass(frozen=True)
class Plan:
    folder: Path
    table: str = "dataset.csv"
    root: str | None = None
    """Subfolder with a folder for each word; None: `keypoints` where there is one, else the folder itself."""
    signers: SignerNames = field(default_factory=SignerNames)
    resplit: bool = False
    random: bool = False
    """Split at random although signers are known."""
    group_by: str = SIGNER
    """Column whose values are never in two splits."""
    seed: int = 0
    dry_run: bool = False
    """Say what is wrong and what would be written, and write nothing."""


@dataclass(frozen=True)
class Report:
    table: Path
    rows: tuple[Row, ...]
    added: int
    way: str
    """How splits were chosen, for people."""
    fingerprint: str
    """As training will have it; empty when there are errors, or the table is not written."""
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.error]

    def lines(self) -> list[str]:
        signers = len({row.signer for row in self.rows if row.signer})
        kept = len(self.rows) - self.added
        lines = [
            f"{self.table}: {len(self.rows)} clips ({kept} kept, {self.added} new), {len(balance(self.rows))} words, "
            f"{signers or 'no known'} signers; splits: {self.way}",
            *balance_lines(self.rows, len(self.rows)),
            *finding_lines(self.findings),
        ]
        if self.errors:
            return [*lines, f"errors: {len(self.errors)}; new files that cannot be used are not in the table"]
        return [*lines, f"fingerprint {self.fingerprint}"]

    def as_json(self) -> str:
        signers = sorted({row.signer for row in self.rows if row.signer})
        counted = Counter((row.signer, row.split) for row in self.rows)
        content = {
            "table": str(self.table),
            "clips": len(self.rows),
            "added": self.added,
            "splits": self.way,
            "words": balance(self.rows),
            "signers": {name: {split: counted[name, split] for split in SPLITS} for name in signers},
            "fingerprint": self.fingerprint or None,
            "errors": [{"kind": finding.kind, "text": finding.text} for finding in self.findings if finding.error],
            "warnings": [
                {"kind": finding.kind, "text": finding.text} for finding in self.findings if not finding.error
            ],
        }
        return json.dumps(content, ensure_ascii=False, indent=2)


def prepare(plan: Plan, *, quiet: bool = True) -> Report:
    """Write or update the table, if anything in it changes. `quiet`: no progress on stderr.

    Raises:
        ConfigError: no row has anything in the column to group by, or words are not where the table has them.
        DataError: no such folder, no usable keypoint file in it, an unusable table, or a folder that cannot be
            written to.
    """
    path = plan.folder / plan.table
    old = parse_table(read_table(path), str(path)) if path.exists() else ()
    root = plan.folder / plan.root if plan.root is not None else plan.folder / KEYPOINTS
    if plan.root is None and not root.is_dir():
        root = plan.folder
    found, findings = scan(plan.folder, root, plan.signers)
    listed = {PurePosixPath(row.path).as_posix(): row.label for row in old}
    new = [file for file in found if file.path not in listed]
    agree = [file.label == listed[file.path] for file in found if file.path in listed]
    if new and agree and not any(agree):
        raise ConfigError(
            f"the table's words are not the folders in {root}: {new[0].path} would be {new[0].label!r}",
            mend="name the folder that holds a folder for each word with --keypoints SUBFOLDER",
        )
    known = _with_signers(old, found)
    clips, unusable = _read(plan.folder, [*(row.path for row in old), *(file.path for file in new)], quiet)
    findings += unusable
    added = [Row(0, file.path, file.label, "", file.signer) for file in new if file.path in clips]
    rows = [*(replace(row, split="") if plan.resplit else row for row in known), *added]
    if not rows:
        raise DataError(
            "\n".join([f"{root} holds no usable keypoint file", *finding_lines(findings)]),
            mend="name the folder that holds a folder of .npy files for each word",
        )
    done, way, notes = _split(rows, clips, plan)
    findings += [*notes, *check_table(done), *check_clips(done, clips)]
    if done != old and not plan.dry_run:
        write_table(path, done)
    known_to_training = done == old or not plan.dry_run
    failed = any(finding.error for finding in findings) or not known_to_training
    identity = "" if failed else fingerprint(read_table(path), (clips[row.path].file for row in done))
    return Report(path, done, len(added), way, identity, tuple(findings))


def _with_signers(old: Iterable[Row], found: Iterable[Found]) -> list[Row]:
    """The table's rows; a signer that the table does not name is taken from the file's path."""
    signers = {file.path: file.signer for file in found}
    return [
        row if row.signer else replace(row, signer=signers.get(PurePosixPath(row.path).as_posix(), "")) for row in old
    ]


def _read(folder: Path, paths: list[str], quiet: bool) -> tuple[dict[str, Clip], list[Finding]]:
    """What each file holds, and an error for each that cannot be used."""
    from rich.console import Console
    from rich.progress import track

    clips: dict[str, Clip] = {}
    findings = []
    console = Console(stderr=True)
    disable = quiet or not console.is_terminal
    for path in track(paths, "reading", console=console, transient=True, disable=disable):
        try:
            clips[path], _ = read_clip(folder / path, path)
        except DataError as refusal:
            findings.append(error("file", f"{refusal.what}{f': {refusal.why}' if refusal.why else ''}"))
    return clips, findings


def _split(rows: list[Row], clips: Mapping[str, Clip], plan: Plan) -> tuple[tuple[Row, ...], str, list[Finding]]:
    """A split for each row that has none; how it was chosen; what to know about it."""
    labels, fixed = [row.label for row in rows], [row.split for row in rows]
    groups = [row.value(plan.group_by) for row in rows]
    known = sorted({group for group in groups if group})
    if plan.group_by != SIGNER and not known:
        raise ConfigError(f"no row has a {plan.group_by}", mend=f"name a column of {plan.table} that is filled in")
    notes: list[Finding] = []
    if all(fixed):
        return tuple(rows), "as they were", notes
    if not plan.random and len(set(groups)) > 1:
        way = f"by {plan.group_by}"
        splits = grouped(labels, groups, fixed, plan.seed)
    else:
        way = f"at random within each word, seed {plan.seed}"
        splits = stratified(labels, [_content(row, clips) for row in rows], fixed, plan.seed)
        if known:
            why = "asked for" if plan.random else f"{known[0]} is the only {plan.group_by}"
            text = f"the split is random ({why}): how well a new person is recognised stays unknown"
            notes.append(warning("random-split", text))
    return tuple(replace(row, split=split) for row, split in zip(rows, splits, strict=True)), way, notes


def _content(row: Row, clips: Mapping[str, Clip]) -> str:
    """The same for two files with the same clip in them, so that they stay together."""
    clip = clips.get(row.path)
    return clip.content.hex() if clip and clip.frames_with_hand else row.path


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        plan = Plan(
            options.folder,
            options.table,
            options.keypoints,
            SignerNames.of(options.signer_from_folder, options.signer_pattern),
            options.resplit,
            options.random,
            options.group_by,
            options.seed,
            options.dry_run,
        )
        report = prepare(plan, quiet=False)
    except SignspotError as refusal:
        print(refusal, file=sys.stderr)
        return refusal.exit_code
    except KeyboardInterrupt:
        print("stopped; the table is as it was", file=sys.stderr)
        return 130
    print(report.as_json() if options.json else "\n".join(report.lines()))
    return DataError.exit_code if report.errors else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trainer.prepare", description="Make or update a dataset's table.")
    parser.add_argument("folder", type=Path, help="holds a folder of .npy files for each word, or keypoints/ does")
    parser.add_argument("--table", default=Plan.table, help="file name of the table")
    parser.add_argument("--keypoints", metavar="SUBFOLDER", help="where the words' folders are")
    parser.add_argument(
        "--signer-from-folder", type=int, metavar="N", help="level of the signer's folder; 1: the word's"
    )
    parser.add_argument("--signer-pattern", metavar="REGEX", help="its group (?P<signer>...) names the signer")
    parser.add_argument("--resplit", action="store_true", help="choose all splits anew")
    parser.add_argument("--random", action="store_true", help="split at random although signers are known")
    parser.add_argument("--group-by", default=Plan.group_by, metavar="COLUMN", help="nobody of one is in two splits")
    parser.add_argument("--seed", type=_seed, default=Plan.seed, help="0 or more")
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


def _seed(text: str) -> int:
    if (seed := int(text)) < 0:
        raise argparse.ArgumentTypeError("0 or more")
    return seed


if __name__ == "__main__":
    sys.exit(main())
