"""What W&B is told of a trial: by verl's own wandb.init, whose environment is made here, and by couriers beside it.

verl always writes its run to the disk: its `wandb.init` and `finish` wait minutes for a server that is away, and a training would wait with
them. Imports no wandb and holds no secret.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness import identity, records
from harness.errors import ConfigError
from harness.paths import AttemptPaths, StudyPaths, TrialPaths
from harness.trackers import companion, offline_runs, wandb_site
from harness.trackers.study_run import StudyRun, identity_of
from harness.trackers.sweep_page import SweepPage
from harness.types import StudyRecord, TrialSpec

MODES = ("offline", "online", "disabled")
_COURIER = "harness.trackers.courier"


@dataclass(frozen=True, kw_only=True, slots=True)
class WandbTracker:
    """verl's run gets its id, group, job type and tags from here; the key, if any, is inherited and never written down.

    With the mode `online` a courier streams each trial's rows; with `offline`, one run of the whole trial is written where its engine was
    killed, or where it had several. `verl-study sync` tells W&B later of what it lacks.
    """

    mode: str
    entity: str | None
    tags: Sequence[str]
    study_run: bool  # the study has a run of its own beside those of its trials
    site: str | None  # of W&B's pages; None: that of the server that its client speaks to
    sweep_page: bool  # trials are shown on the page of a W&B sweep, too

    def __post_init__(self) -> None:
        for name, value in (("study_run", self.study_run), ("sweep_page", self.sweep_page)):
            if not isinstance(value, bool):
                raise ConfigError(f"tracking.{name}: expected true or false, got {value!r}")
        if self.mode not in MODES:
            raise ConfigError(f"tracking.mode: expected one of {', '.join(MODES)}, got {self.mode!r}")
        if self.sweep_page and self.mode != "online":
            raise ConfigError("tracking.sweep_page: W&B makes the page when the study begins: set tracking.mode=online, or do without")

    @property
    def loggers(self) -> Sequence[str]:
        return ("console", "file", "wandb")

    def environment(self, trial: TrialSpec, attempt: AttemptPaths, *, run_id: str) -> dict[str, str]:
        settings = {
            "WANDB_MODE": "disabled" if self.mode == "disabled" else "offline",
            "WANDB_DIR": str(attempt.root.absolute()),
            "WANDB_RUN_ID": run_id,
            "WANDB_RESUME": "allow",  # a later attempt goes on in the same run
            "WANDB_RUN_GROUP": trial.study,
            "WANDB_JOB_TYPE": trial.role.value,
            "WANDB_TAGS": ",".join(identity.unique((*identity.tags(trial, {}), *self.tags))),
            "WANDB_NOTES": identity.notes(trial),
            "WANDB_CONSOLE": "off",
            "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false",
        }
        page = records.read_if_there(StudyPaths(attempt.trial.root.parent).sweep, SweepPage) if self.sweep_page else None
        if page is not None:  # the client wants all three
            return settings | {"WANDB_SWEEP_ID": page.id, "WANDB_ENTITY": page.entity, "WANDB_PROJECT": page.project}
        return settings | ({"WANDB_ENTITY": self.entity} if self.entity else {})

    def prepare(self, study: StudyPaths, say: Callable[[str], None]) -> None:
        """Makes the sweep's page, where one is wanted and there is none. Raises ConfigError."""
        if not self.sweep_page or study.sweep.exists():
            return
        say("making the sweep's page at W&B")
        words = (str(study.root.absolute()), *([self.entity] if self.entity else []))
        said = list(companion.lines("harness.trackers.sweep_page", *words))
        if not study.sweep.exists():
            raise ConfigError(f"tracking.sweep_page: {said[-1].strip() if said else 'see above'}; tracking.sweep_page=false does without")

    def page(self, project: str, run_id: str) -> str | None:
        """Known where the entity is; of an offline run, where it will be."""
        if not self.entity or self.mode == "disabled":
            return None
        return wandb_site.run_page(self.entity, project, run_id, site=self.site)

    def run_of_study(self, record: StudyRecord) -> StudyRun | None:
        if not self.study_run or self.mode == "disabled":
            return None
        return StudyRun(who=identity_of(record, entity=self.entity, tags=self.tags), online=self.mode == "online")

    def runs(self, trial: TrialPaths) -> None:
        """A second courier waits for the first one's end, and finds nothing to do."""
        if self.mode == "online":
            companion.start(_COURIER, "follow", str(trial.root.absolute()), log=trial.courier_log)

    def ended(self, trial: TrialPaths) -> None:
        """An engine that was killed has lost the last rows of its run, and could not close it."""
        offline_runs.link(trial)
        if not trial.result.exists():
            return
        if self.mode == "online":  # one that was given up while it was paused has no courier any more
            companion.start(_COURIER, "follow", str(trial.root.absolute()), log=trial.courier_log)
        elif offline_runs.are_in_parts(trial):
            companion.start(_COURIER, "whole", str(trial.root.absolute()), log=trial.courier_log)
