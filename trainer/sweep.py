"""Many trainings, to find good settings. Enters: `sweep.toml`, a dataset, settings. Leaves: a leaderboard, a model.

    python -m trainer.sweep SWEEP.toml DATASET --out FOLDER [--ray local|ADDRESS]    settings: SM_HPS
                            [--trial-command COMMAND]

`FOLDER/leaderboard.json`, `.csv` and `report.html` follow the trials. `FOLDER/trials` holds checkpoints and model of
each, `FOLDER/tune` is Ray Tune's, `FOLDER/model` is the best model of a trial that finished. The same command goes on
from there: also after this process, or the machine with it, is gone; also with a larger budget of hours or dollars.

Exit 0: through, or the budget is used up and there is a model. Exit 6: no trial finished. Exit 75: stopped and saved.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from contract.box import EXIT_SAVED
from contract.errors import ConfigError, DataError, SignspotError, TrainerError
from trainer.atomic import replacing
from trainer.cluster import LOCAL, joined
from trainer.settings import Settings
from trainer.sweep_board import Board
from trainer.sweep_file import Range, Sweep, load_sweep
from trainer.sweep_trial import CHECKPOINTS, MODEL, SCORE, Base, run_trial
from trainer.table import parse_table, read_table

NAME, WORK = "tune", "trials"
"""Of the folder that is Tune's, and of that in which each trial has one."""
PLAN = "sweep.json"
FREE = ("hours", "usd", "usd_per_hour")
"""Of the budget: what may change when a sweep goes on."""
RETRIES = 10
"""Times that a trial may lose its process or machine."""
Trainable = Callable[..., None]


def sweep(plan: Sweep, base: Base, out: Path, trainable: Trainable = run_trial) -> Board:
    """Run or go on with a sweep in `out`, on the cluster that was joined; returns the leaderboard.

    Raises:
        ConfigError: `out` holds another sweep.
    """
    os.environ.update(
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S="0"
    )
    from ray import tune

    from trainer.sweep_watch import Watch

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # a trial that was lost and goes on is no news; the board tells
    _claim(out, plan, base)
    base = replace(base, folder=str(out / WORK))
    prepared = tune.with_resources(
        tune.with_parameters(trainable, base=base), {"cpu": plan.trial.cpus, "gpu": plan.trial.gpus}
    )
    place = str(out / NAME)
    if tune.Tuner.can_restore(place):
        tuner = tune.Tuner.restore(place, prepared, resume_errored=True)
    else:
        tuner = tune.Tuner(
            prepared,
            param_space=_space(tune, plan),
            tune_config=tune.TuneConfig(
                metric=SCORE,
                mode="max",
                search_alg=_search(plan, base),
                scheduler=_scheduler(plan, base),
                num_samples=1 if plan.search == "grid" else plan.budget.trials,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=NAME,
                storage_path=str(out),
                callbacks=[Watch(out)],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                verbose=0,
            ),
        )
    tuner.fit()
    board = Board.read(out) or Board(plan.metric)
    if board.finished and (out / WORK).is_dir():  # trials that are commands have their folders where they like
        _keep_model(out / WORK / board.finished[0].trial / MODEL, out / MODEL)
    if not board.open:
        for row in board.rows:
            if row.state != "failed":  # that one may still be gone on with
                shutil.rmtree(out / WORK / row.trial / CHECKPOINTS, ignore_errors=True)
    return board


def _claim(out: Path, plan: Sweep, base: Base) -> None:
    """Write down what is done in this folder."""
    now = {"sweep": plan.model_dump(mode="json"), "base": asdict(base)}
    try:
        then = json.loads((out / PLAN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        out.mkdir(parents=True, exist_ok=True)
        then = now
    differences = [*_differences(_fixed(then), _fixed(now))]
    if differences:
        raise ConfigError(
            f"{out} holds another sweep",
            why=f"of another {', '.join(differences)}",
            mend="name another folder with --out, or undo the change; hours and dollars alone may change",
        )
    with replacing(out / PLAN) as temporary:
        temporary.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")


def _fixed(plan: Mapping[str, Any]) -> dict[str, Any]:
    budget = {name: value for name, value in plan["sweep"]["budget"].items() if name not in FREE}
    return {**plan["sweep"], "budget": budget, "dataset": plan["base"]["dataset"], **plan["base"]["settings"]}


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*then, *now} if then.get(name) != json.loads(json.dumps(now.get(name))))


def _space(tune: Any, plan: Sweep) -> dict[str, Any]:
    return {name: _domain(tune, plan, name, values) for name, values in plan.space.items()}


def _domain(tune: Any, plan: Sweep, name: str, values: list[Any] | Range) -> Any:
    if isinstance(values, list):
        return tune.grid_search(values) if plan.search == "grid" else tune.choice(values)
    if plan.whole(name):
        draw = tune.lograndint if values.log else tune.randint
        return draw(int(values.low), int(values.high) + 1)
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def _search(plan: Sweep, base: Base) -> Any:
    """The settings of now come first where the space holds them, so that there is something to compare with."""
    now = Settings.from_json(json.dumps(dict(base.settings))).trainer
    first = [{name: getattr(now, name) for name in plan.space}] if plan.holds(now) else []
    if plan.search == "optuna":
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return OptunaSearch(metric=SCORE, mode="max", seed=plan.seed, points_to_evaluate=first or None)
    from ray.tune.search.basic_variant import BasicVariantGenerator

    return BasicVariantGenerator(
        random_state=plan.seed, points_to_evaluate=first if first and plan.search != "grid" else None
    )


def _scheduler(plan: Sweep, base: Base) -> Any:
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    if plan.early_stopping == "none":
        return FIFOScheduler()
    epochs = plan.space.get("epochs")
    longest = max(epochs) if isinstance(epochs, list) else epochs.high if epochs else base.settings["epochs"]
    return ASHAScheduler(
        time_attr="train_epoch",
        max_t=int(longest) + 1,  # above it Tune would end a trial before it has made its model
        grace_period=min(plan.asha.grace_epochs, int(longest)),
        reduction_factor=plan.asha.reduction,
    )


def _keep_model(of: Path, to: Path) -> None:
    """A copy of the model folder `of`, whole or not at all."""
    fresh, old = to.with_name(f".{to.name}.new"), to.with_name(f".{to.name}.old")
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(of, fresh)
    if to.exists():
        to.rename(old)
    fresh.rename(to)
    shutil.rmtree(old, ignore_errors=True)


def check_val(dataset: Path, table: str) -> None:
    """Raises DataError: there is no table, or no val split by which trials could be compared."""
    if not any(row.split == "val" for row in parse_table(read_table(dataset / table), table)):
        raise DataError(
            f"{dataset / table} has no val split",
            why="by it, and never by the test split, trials are compared",
            mend="signspot dataset makes one",
        )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer.sweep", description="Find good settings.")
    parser.add_argument("sweep", type=Path, help="sweep.toml")
    parser.add_argument("dataset", type=Path, help="folder of keypoints with its table")
    parser.add_argument("--out", type=Path, required=True, help="folder for leaderboard, trials and model")
    parser.add_argument("--ray", metavar="ADDRESS", default=LOCAL, help="of a Ray cluster; default: on this machine")
    parser.add_argument("--trial-command", default="", help="what carries out a trial by the training contract")
    options = parser.parse_args(arguments)
    try:
        plan = load_sweep(options.sweep)
        given = json.loads(os.environ.get("SM_HPS") or "{}")
        settings = Settings.from_json(json.dumps(given))
        check_val(options.dataset, settings.table)
        base = Base(str(options.dataset.resolve()), {**given, "epochs": settings.trainer.epochs}, plan.metric)
        with joined(options.ray):
            signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGUSR1))  # Tune saves and returns
            board = sweep(plan, base, options.out.resolve(), _trainable(shlex.split(options.trial_command)))
    except KeyboardInterrupt:  # while Ray starts or ends; Tune hears the one that comes in between
        print(f"stopped; the same command goes on from what is in {options.out}", file=sys.stderr)
        return EXIT_SAVED
    except SignspotError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return conclude(plan, board, options.out, partial(print, flush=True))


def _trainable(command: list[str]) -> Trainable:
    if not command:
        return run_trial
    from trainer.sweep_command import run_command

    def carry_out(config: Mapping[str, Any], base: Base) -> None:
        run_command(config, base, command)

    return carry_out


def conclude(plan: Sweep, board: Board, out: Path, say: Callable[[str], None]) -> int:
    """Say how it ended; returns the exit code."""
    say(board.head())
    if board.finished:
        say(f"best: {json.dumps(dict(board.finished[0].settings))}; its model is {out / MODEL}")
    over = board.seconds >= plan.budget.seconds
    if not over and (board.open or not board.rows):
        say(f"stopped; {len(board.open)} trials are saved in {out}: the same command goes on from there")
        return EXIT_SAVED
    if board.open:
        say(f"the budget is used up, {len(board.open)} trials are not through: raise hours or usd to go on from there")
    if not board.finished:
        why = next((row.note for row in board.rows if row.note), "")
        print(TrainerError("no trial finished", why=why, mend="see report.html; raise the budget"), file=sys.stderr)
        return TrainerError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
