"""The same trials by Ray Tune: python bowl_tune.py FOLDER new|reused SAMPLER TRIALS AT_ONCE FIRST_SECONDS SECOND_SECONDS"""

import os
import sys
from pathlib import Path

import optuna
import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from timed import bowl

SAMPLERS = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}


def trial(config):
    return {"value": bowl(config["x"], config["y"], seconds=config["seconds"])}


def main():
    folder, actors, sampler, trials, at_once, *seconds = sys.argv[1:]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    environment = {"PYTHONPATH": str(Path(__file__).parent), "BENCH_FOLDER": os.environ["BENCH_FOLDER"]}
    ray.init(num_cpus=int(at_once), include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})
    tune.Tuner(
        trial,
        param_space={"x": tune.uniform(-5, 5), "y": tune.uniform(-5, 5), "seconds": [float(number) for number in seconds]},
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(metric="value", mode="min", sampler=SAMPLERS[sampler](seed=1)),
            num_samples=int(trials),
            max_concurrent_trials=int(at_once),
            reuse_actors=actors == "reused",
        ),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit()


if __name__ == "__main__":
    main()
