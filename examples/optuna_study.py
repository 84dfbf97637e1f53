"""An Optuna study that several processes work on at once, with its trials in a database.

    pip install dbvitals optuna 'psycopg[binary]'
    dbvitals run -- python examples/optuna_study.py --database postgresql+psycopg://user:password@localhost/empty

The database must exist; Optuna makes its tables there. Nothing in here knows of dbvitals.
"""

from __future__ import annotations

import argparse
import multiprocessing
import uuid
from concurrent.futures import ProcessPoolExecutor

import optuna


def objective(trial: optuna.Trial) -> float:
    """A paraboloid, with three steps of progress for the pruner."""
    x, y = trial.suggest_float("x", -10, 10), trial.suggest_float("y", -10, 10)
    kind = trial.suggest_categorical("kind", ["flat", "steep"])
    value = (x - 2) ** 2 + (y + 1) ** 2 * (1 if kind == "flat" else 3)
    for step in range(3):
        trial.report(value / (step + 1), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value


def work(database: str, study_name: str, trials: int) -> int:
    """One process's share."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name=study_name, storage=database)
    study.optimize(objective, n_trials=trials)
    return trials


def main() -> None:
    """Make the study, let the processes work, and print the best trial."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--database", metavar="URL", required=True)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--trials", type=int, default=10, help="for each process")
    parser.add_argument("--start", choices=multiprocessing.get_all_start_methods(), default="spawn")
    options = parser.parse_args()

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name=f"study-{uuid.uuid4().hex[:8]}", storage=options.database)
    context = multiprocessing.get_context(options.start)
    with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        jobs = [(options.database, study.study_name, options.trials)] * options.processes
        done = sum(pool.map(work, *zip(*jobs, strict=True)))
    states = sorted({trial.state.name.lower() for trial in study.trials})
    print(f"{options.processes} processes ran {done} trials ({', '.join(states)})")
    print(f"the best value is {study.best_value:.3f}")


if __name__ == "__main__":
    main()
