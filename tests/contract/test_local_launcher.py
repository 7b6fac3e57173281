"""Hydra's own suite for launchers, on ours: whatever works with Hydra's launchers works with hydra/launcher=local."""

from __future__ import annotations

import warnings

import pytest
from hydra import version
from hydra.core.plugins import Plugins
from hydra.errors import Hydra14MigrationWarning
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite

# The suite starts Hydra without a version_base, which Hydra itself warns of.
pytestmark = pytest.mark.filterwarnings("ignore:\\s*Future Hydra versions will no longer change working directory:UserWarning")


@pytest.fixture(autouse=True)
def no_version(hydra_restore_singletons: None) -> None:
    """As in a process of its own, whatever version other tests have asked Hydra for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Hydra14MigrationWarning)  # of what the suite relies on
        version.setbase("1.1")


def test_hydra_discovers_the_launcher() -> None:
    found = Plugins.instance().discover(Launcher)
    from hydra_plugins.verl_local_launcher import LocalLauncher  # only now: Hydra's scan imports its plug-ins anew

    assert LocalLauncher in found


@pytest.mark.parametrize(("launcher_name", "overrides"), [("local", [])])
class TestLocalLauncher(LauncherTestSuite):
    """All jobs at the same time."""


@pytest.mark.parametrize(("launcher_name", "overrides"), [("local", ["hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2"])])
class TestLocalLauncherInBatches(BatchedSweeperTestSuite):
    """Each batch ends before the next begins, as Hydra's basic sweeper asks."""


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [({}, ["-m", "hydra/launcher=local", "hydra/job_logging=disabled", "hydra/hydra_logging=disabled"])],
)
class TestLocalLauncherIntegration(IntegrationTestSuite):
    """Real applications, as processes."""
