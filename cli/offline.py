"""The commands that need no account, only the trainer's own code: `sample`, `dataset`, `extract`, `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to put it; made when absent.")] = Path("data/sample"),
) -> None:
    """Make a small synthetic dataset: a kinematic hand signing a few words.

    Example: signspot sample data/sample
    """
    from cli.workload import run_trainer

    raise typer.Exit(run_trainer("trainer.sample", str(folder)))


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
    videos: Annotated[Path, typer.Argument(help="Folder of WORD/CLIP.mp4, .mov, .avi, .webm or .mkv.")] = Path(
        "Data/rawVideos"
    ),
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
) -> None:
    """Turn a folder of clips into keypoints: .npy (frames, 2, 21, 3), with frame rate and presence beside it.

    Does only what is new or changed, so Ctrl-C loses nothing. Exit 7: partial: some clips failed or are doubtful, and
    are named; the others are there. Exit 3: none could be extracted.
    Example: signspot extract Data/rawVideos --to Data/keypoints --preview
    """
    from cli.workload import as_arguments, run_trainer

    where = str(model) if model else None
    arguments = as_arguments(to=str(to), max_empty=max_empty, processes=processes, preview=preview, model=where)
    raise typer.Exit(run_trainer("trainer.extract", *arguments, "--", str(videos)))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder with the trained model, as `fetch` brought it.")],
    keypoints: Annotated[Path, typer.Argument(help="Keypoints of one clip, .npy of shape (frames, 2, 21, 3).")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Say which word a clip's keypoints show: the word, its confidence, the top three.

    Example: signspot predict results/demo/model data/sample/keypoints/clip.npy
    """
    from cli.workload import run_trainer

    raise typer.Exit(run_trainer("trainer.predict", str(model), str(keypoints), *(["--json"] if as_json else [])))
