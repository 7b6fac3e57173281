"""The door through which Hydra reads verl's own configuration tree: `verl://` in a search path."""

from __future__ import annotations

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource

GROUP = "verl"


class VerlConfigSource(ConfigSource):
    """The group `verl`: one option for each flattened trainer tree of the installed verl, placed at the root of the configuration."""

    @staticmethod
    def scheme() -> str:
        return "verl"

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path.strip("/") in ("", GROUP)

    def is_config(self, config_path: str) -> bool:
        return self._tree_name(config_path) in self._trees()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path.strip("/") == "":
            return [] if results_filter is ObjectType.CONFIG else [GROUP]
        if results_filter is ObjectType.GROUP or not self.is_group(config_path):
            return []
        return sorted(self._trees())

    def load_config(self, config_path: str) -> ConfigResult:
        # Only now, so that Hydra's plug-in scan stays light in every process that uses Hydra.
        from sweeps import verl_tree

        name = self._tree_name(config_path)
        if name is None:
            raise ConfigLoadError(f"Config not found : {config_path}")
        return ConfigResult(config=verl_tree.load(name), path="verl://", provider=self.provider, header={"package": "_global_"})

    @staticmethod
    def _tree_name(config_path: str) -> str | None:
        group, _, name = config_path.strip("/").removesuffix(".yaml").partition("/")
        return name if group == GROUP and name else None

    @staticmethod
    def _trees() -> tuple[str, ...]:
        from sweeps import verl_tree

        return verl_tree.names()
