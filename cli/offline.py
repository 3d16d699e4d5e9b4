"""The commands that need no account, only the trainer: `sample`, `dataset`, `extract`, `train`, `sweep`,
`predict`, `export`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.options import AsJson
from contract.errors import ConfigError

app = typer.Typer()


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to put it; made when absent.")] = Path("data/sample"),
    as_json: AsJson = False,
) -> None:
    """Make a small synthetic dataset: a kinematic hand signing a few words.

    Example: signspot sample data/sample
    """
    from cli.workload import as_arguments, run_trainer

    raise typer.Exit(run_trainer("trainer.sample", *as_arguments(json=as_json), "--", str(folder)))


@app.command()
def dataset(
    folder: Annotated[Path, typer.Argument(help="Holds a folder of .npy files for each word, or keypoints/ does.")],
    signer_from_folder: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="Level of the folder named for the signer; 1 is the word's.")
    ] = None,
    signer_pattern: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Its group (?P<signer>...) is the signer in a file's path.")
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Nobody of one is in two splits; default: signer.")
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Split at random although signers are known.")] = False,
    resplit: Annotated[bool, typer.Option("--resplit", help="Choose all splits anew.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the splits.")] = 0,
    table: Annotated[str, typer.Option(help="File name of the table.")] = "dataset.csv",
    keypoints: Annotated[str | None, typer.Option(metavar="SUBFOLDER", help="Where the words' folders are.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Make or update a dataset's table path,label,split,signer, and say what is wrong before it costs a run.

    60/20/20, with nobody in two splits where signers are known. Rows that are there keep their split. Exit 3: there
    are errors; training would refuse them. Example: signspot dataset data/sample
    """
    from cli.workload import as_arguments, run_trainer

    arguments = as_arguments(
        signer_from_folder=signer_from_folder,
        signer_pattern=signer_pattern,
        group_by=group_by,
        random=random,
        resplit=resplit,
        seed=seed,
        table=table,
        keypoints=keypoints,
        json=as_json,
    )
    raise typer.Exit(run_trainer("trainer.prepare", *arguments, "--", str(folder)))


@app.command()
def extract(
    videos: Annotated[
        str, typer.Argument(help="Folder of WORD/CLIP.mp4, .mov, .avi, .webm or .mkv; or s3://BUCKET/PREFIX of them.")
    ] = "Data/rawVideos",
    to: Annotated[Path, typer.Option(help="Folder for the keypoints; it mirrors the clips'.")] = Path("Data/keypoints"),
    preview: Annotated[
        bool, typer.Option("--preview", help="Beside each, a contact sheet with the hands drawn.")
    ] = False,
    max_empty: Annotated[
        float,
        typer.Option(min=0, max=100, metavar="PERCENT", help="Doubtful above this share of frames without a hand."),
    ] = 50,
    model: Annotated[Path | None, typer.Option(help="hand_landmarker.task; default: found, or fetched once.")] = None,
    processes: Annotated[int, typer.Option(min=0, help="At a time; 0: one per core.")] = 0,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="On the Ray cluster there; local: one on this machine.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a folder of clips into keypoints: .npy (frames, 2, 21, 3), with frame rate and presence beside it.

    Does only what is new or changed, so Ctrl-C loses nothing. Exit 7: partial: some clips failed or are doubtful, and
    are named; the others are there. Exit 3: none could be extracted. With --ray the keypoints are the same, byte for
    byte, and a machine that is lost costs the clips it had in hand, which another does. `make ray` installs it.
    Example: signspot extract Data/rawVideos --to Data/keypoints --preview
    """
    from cli.workload import as_arguments, run_trainer

    if videos.startswith("s3://"):
        from cli.clips import cache, fetch_clips
        from cli.live import aws

        videos = str(fetch_clips(aws("s3"), videos, cache(os.environ)))
    where = str(model) if model else None
    arguments = as_arguments(
        to=str(to), max_empty=max_empty, processes=processes, preview=preview, model=where, ray=ray, json=as_json
    )
    raise typer.Exit(run_trainer("trainer.extract", *arguments, "--", videos))


@app.command()
def train(
    dataset: Annotated[
        Path | None, typer.Argument(help="Folder of keypoints with its table; default: data.path of the settings.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for model/, checkpoints/ and output/.")] = Path("results/here"),
    overfit: Annotated[
        bool, typer.Option("--overfit", help="Only try whether one batch can be learnt by heart; keep nothing.")
    ] = False,
    setting: Annotated[
        list[str] | None, typer.Option("-c", metavar="NAME=VALUE", help="A setting other than signspot.toml's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train on this laptop, with the code and the settings of a box. Ctrl-C saves; the same command goes on.

    Exit 75: stopped and saved. With --overfit 0: it learns; 1: it does not, and data or settings are at fault.
    Example: signspot train data/sample --out results/demo -c epochs=20
    """
    from cli.project import open_project
    from cli.train import train_here

    raise typer.Exit(train_here(open_project(setting or ()), dataset, out, overfit, as_json))


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="What is tried, how, and for how long.")] = Path("sweep.toml"),
    dataset: Annotated[
        Path | None, typer.Argument(help="Folder of keypoints with its table; default: data.path of the settings.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the leaderboard, trials/ and model/.")] = Path("results/sweep"),
    ray: Annotated[
        str, typer.Option(metavar="ADDRESS", help="On the Ray cluster there; local: one on this machine.")
    ] = "local",
    setting: Annotated[
        list[str] | None, typer.Option("-c", metavar="NAME=VALUE", help="A setting other than signspot.toml's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train many times, each with other settings, and keep the best model: random, grid or Optuna search, and ASHA.

    Trials are compared by the val split; the test split stays unseen. Interrupted at any moment, by Ctrl-C, by a lost
    machine or by its budget, the same command goes on from each trial's last checkpoint. `make ray` installs Ray.
    Exit 75: stopped and saved. Exit 6: no trial finished. The file: docs/scale.md.
    Example: signspot sweep sweep.toml data/sample --out results/sweep
    """
    from cli.project import open_project
    from cli.sweep import sweep_here

    raise typer.Exit(sweep_here(open_project(setting or ()), file, dataset, out, ray, as_json))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder with the trained model, as `fetch` brought it.")],
    source: Annotated[
        str | None,
        typer.Argument(metavar="INPUT", help="Keypoints (.npy), a clip, a folder of either; the camera's number."),
    ] = None,
    camera: Annotated[bool, typer.Option("--camera", help="Live; INPUT is the camera's number, 0 without.")] = False,
    top: Annotated[int, typer.Option(min=1, help="Likeliest words shown.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
    overlay: Annotated[
        Path | None, typer.Option(metavar="OUT.mp4", help="Draw the hands and the answer on the clip.")
    ] = None,
    timeline: Annotated[bool, typer.Option("--timeline", help="Several signs: words over time.")] = False,
    window: Annotated[
        float, typer.Option(metavar="SECONDS", help="Looked at together; about as long as a sign.")
    ] = 1.0,
    stride: Annotated[float, typer.Option(metavar="SECONDS", help="Between two looks.")] = 0.1,
    hand_model: Annotated[
        Path | None, typer.Option(help="hand_landmarker.task; default: found, or fetched once.")
    ] = None,
) -> None:
    """Say which word is signed, how sure that is, and the likeliest three; "unknown" where the model does not know.

    Of a folder a line for each. Exit 7: some of a folder could not be read or are doubtful. Exit 3: none could.
    Example: signspot predict results/demo/model clip.mp4 --overlay seen.mp4
    """
    from cli.workload import as_arguments, run_trainer

    number = (source or "0") if camera else None
    if number is not None and not number.isdecimal():
        raise ConfigError(f"--camera takes a number, not {number!r}", mend="leave --camera or INPUT out")
    arguments = as_arguments(
        camera=number,
        top=top,
        json=as_json,
        overlay=str(overlay) if overlay else None,
        timeline=timeline,
        window=window,
        stride=stride,
        hand_model=str(hand_model) if hand_model else None,
    )
    inputs = [str(model)] if camera or source is None else [str(model), source]
    raise typer.Exit(run_trainer("trainer.predict", *arguments, "--", *inputs))


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="Folder with the trained model, as `fetch` brought it.")],
    out: Annotated[Path | None, typer.Option(help="Default: model.tflite in that folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a trained model into one LiteRT file (.tflite) for phones and small boards, and compare the two.

    Takes the features of trainer/normalise.py; words and the threshold of "unknown" are inside, as in a zip archive.
    Example: signspot export results/demo/model
    """
    from cli.workload import as_arguments, run_trainer

    arguments = as_arguments(out=str(out) if out else None, json=as_json)
    raise typer.Exit(run_trainer("trainer.lite", *arguments, "--", str(model)))
