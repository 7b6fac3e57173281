"""The door through which every Hydra application finds this project's sweeper and launcher configurations."""

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class VerlSweepSearchPath(SearchPathPlugin):
    """Adds the folder of `hydra/sweeper=verl_optuna`, its samplers and pruners, and `hydra/launcher=local`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        folder = Path(__file__).parent / "verl_sweep_conf"
        search_path.append(provider="verl-sweep", path=f"file://{folder}")
