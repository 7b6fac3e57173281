"""The task function of both Hydra sweepers."""

import hydra
from omegaconf import DictConfig
from timed import bowl


@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(config: DictConfig) -> float:
    return bowl(config.x, config.y, seconds=config.seconds)


if __name__ == "__main__":
    main()
