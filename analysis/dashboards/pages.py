"""A study's workspace and report in the words of wandb-workspaces; pure: without a key or a network."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import warnings
from typing import Any

from analysis.dashboards.facts import Facts, Measure
from harness import study_metrics
from harness.errors import ConfigError
from harness.types import Reason, TrialState

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of pydantic, about the package's own models
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
        from wandb_workspaces import expr
    except ImportError as error:
        raise ConfigError(f"verl-study wandb needs the package {error.name}: pip install 'verl-sweep[wandb]'") from error

CONFIGURATION = "configuration"  # the key of the runs' flat configuration that replicates share
_STEPS = "training/global_step"
_WIDTH, _HEIGHT = 24, 8  # a report's columns; the rows of a panel
_MOST_RUNS = 100  # lines of a plot


def workspace(facts: Facts, entity: str) -> Any:
    """Saved under a name of its own, so that saving it again changes it and never makes a second one."""
    page = ws.Workspace(
        entity=entity,
        project=facts.project,
        name=facts.study,
        sections=[
            _section("Objective", _curves(facts), pinned=True),
            _section("Knobs", _knobs(facts)),
            _section("Training health", _health(facts)),
            _section("Pruned against finished", _ends(facts)),
            _section("The study's own run", _study(facts), is_open=False),
            _section("Runs compared", [wr.RunComparer(diff_only="split")], is_open=False),
        ],
        settings=ws.WorkspaceSettings(max_runs=_MOST_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(*_of_study(facts)),
            groupby=[expr.Config(CONFIGURATION)],
            order=[expr.Ordering(expr.Summary(facts.target), ascending=facts.minimizes)],
            pinned_columns=["run:state", f"summary:{facts.target}", *(f"config:{knob.key}.value" for knob in facts.knobs), "run:tags"],
        ),
    )
    page._internal_name = view_name(facts)
    return page


def report(facts: Facts, entity: str) -> Any:
    """Known again by its description."""
    trials = [*_of_study(facts), expr.Metric("JobType") != study_metrics.JOB]
    whole = wr.Runset(name="trials", filters=expr.And(*trials))
    grouped = wr.Runset(name="configurations", filters=expr.And(*trials), groupby=[f"config.{CONFIGURATION}"])
    ends = [wr.Runset(name=reason.value, filters=expr.And(*trials, _ended_by(reason))) for reason in (Reason.FINISHED, Reason.PRUNED)]
    own = wr.Runset(name="the study", filters=expr.And(*_of_study(facts), expr.Metric("JobType") == study_metrics.JOB))
    return wr.Report(
        project=facts.project,
        entity=entity,
        title=f"{facts.study} report",
        description=report_mark(facts),
        width="fluid",
        blocks=[
            wr.MarkdownBlock(text=facts.text),
            *_chapter("The objective, by configuration", [grouped], _curves(facts)),
            *_chapter("What the knobs do", [whole], _knobs(facts)),
            *_chapter("Pruned against finished", ends, _ends(facts)),
            *_chapter("Training health", [grouped], _health(facts)),
            *_chapter("The study", [own], _study(facts)),
            *_chapter("Runs compared", [whole], [wr.RunComparer(diff_only="split", layout=wr.Layout(w=_WIDTH, h=_HEIGHT))]),
        ],
    )


def view_name(facts: Facts) -> str:
    """The form in which W&B names a saved view, `nw-...-v`; hexadecimal digits, for neither part may occur in between."""
    return f"nw-{_digest(facts.key)}-v"


def report_mark(facts: Facts) -> str:
    return f"verl-sweep's report on the study {facts.key}"


def as_spec(facts: Facts) -> dict[str, Any]:
    """Both pages as they would be sent, without an entity where none is known."""
    entity = facts.entity or ""
    page, text = workspace(facts, entity)._to_model(), report(facts, entity)._to_model()
    return {
        "entity": facts.entity,
        "project": facts.project,
        "workspace": {"name": page.name, "display_name": page.display_name, "spec": _plain(page.spec)},
        "report": {"title": text.display_name, "description": text.description, "spec": _plain(text.spec)},
    }


def _plain(spec: Any) -> Any:
    return json.loads(spec.model_dump_json(by_alias=True, exclude_none=True))


# --- panels ------------------------------------------------------------------------------------------------------------------------


def _curves(facts: Facts) -> list[Any]:
    """Each objective twice: by configuration with the spread of its seeds, and every run."""
    spread = {"groupby": wr.Config(CONFIGURATION), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    return [
        wr.LinePlot(title=title, x="Step", max_runs_to_show=_MOST_RUNS, **_lines(measure), **how)
        for measure in facts.measures
        for title, how in ((f"{measure.objective.metric}, mean and standard deviation over seeds", spread), ("every run", {}))
    ]


def _lines(measure: Measure) -> dict[str, Any]:
    """The metrics by name, or by pattern while none was logged."""
    return {"y": list(measure.names)} if measure.names else {"metric_regex": _regex(measure.objective.metric)}


def _knobs(facts: Facts) -> list[Any]:
    target = wr.SummaryMetric(facts.target)
    axes = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(knob.key), log=knob.log or None) for knob in facts.knobs]
    return [
        wr.ParallelCoordinatesPlot(columns=[*axes, wr.ParallelCoordinatesPlotColumn(metric=target)], layout=wr.Layout(w=_WIDTH, h=_HEIGHT)),
        wr.ParameterImportancePlot(with_respect_to=facts.target),
        *(wr.ScatterPlot(title=knob.name, x=wr.Config(knob.key), y=target, log_x=knob.log or None) for knob in facts.knobs),
    ]


def _health(facts: Facts) -> list[Any]:
    spread = {"groupby": wr.Config(CONFIGURATION), "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
    return [wr.LinePlot(title=name, x="Step", y=[name], max_runs_to_show=_MOST_RUNS, **spread) for name in facts.health]


def _ends(facts: Facts) -> list[Any]:
    """Where each run stopped, and what it had reached by then."""
    target = wr.SummaryMetric(facts.target)
    return [
        wr.LinePlot(title="until they ended", x="Step", max_runs_to_show=_MOST_RUNS, **_lines(facts.measures[0])),
        wr.ScatterPlot(title="where each one ended", x=wr.SummaryMetric(_STEPS), y=target),
    ]


def _study(facts: Facts) -> list[Any]:
    hours = study_metrics.WALL
    states = [study_metrics.count_name(state) for state in TrialState]
    importance = [f"{study_metrics.IMPORTANCE}/{knob.key}" for knob in facts.knobs]
    return [
        wr.LinePlot(title="best so far, over hours", x=hours, y=[study_metrics.BEST]),
        wr.LinePlot(title="trials by state, over hours", x=hours, y=states),
        wr.LinePlot(title="GPU-hours used and saved, over hours", x=hours, y=[study_metrics.USED, study_metrics.SAVED]),
        wr.LinePlot(title="importance (PED-ANOVA), over ended trials", x=study_metrics.ENDED, y=importance),
        wr.WeavePanelSummaryTable(table_name=study_metrics.TRIALS, layout=wr.Layout(w=_WIDTH, h=_HEIGHT)),
    ]


# --- runs --------------------------------------------------------------------------------------------------------------------------


def _of_study(facts: Facts) -> list[Any]:
    return [expr.Metric("Group") == facts.study]


def _ended_by(reason: Reason) -> Any:
    """The reason is a tag of the run."""
    return expr.Tags().isin([reason.value])


def _regex(pattern: str) -> str:
    """Of a shell pattern, in which `*` and `?` cross `/`."""
    return "^" + re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") + "$"


def _section(title: str, panels: list[Any], *, is_open: bool = True, pinned: bool = False) -> Any:
    return ws.Section(name=title, panels=_with_ids(panels, title), is_open=is_open, pinned=pinned)


def _chapter(title: str, runsets: list[Any], panels: list[Any]) -> list[Any]:
    """Two panels beside each other; the wide ones, which say so, alone."""
    x = y = 0
    for panel in panels:
        wide = panel.layout.w == _WIDTH
        x, y = (0, y + _HEIGHT) if wide and x else (x, y)
        panel.layout = wr.Layout(x=x, y=y, w=_WIDTH if wide else _WIDTH // 2, h=_HEIGHT)
        x, y = (0, y + _HEIGHT) if wide or x else (_WIDTH // 2, y)
    return [wr.H2(text=title), wr.PanelGrid(runsets=_with_ids(runsets, f"runs of {title}"), panels=_with_ids(panels, title))]


def _with_ids(parts: list[Any], place: str) -> list[Any]:
    """Copies whose ids follow from their place, where the package draws them: the same study has the same pages."""
    copies = [copy.copy(part) for part in parts]
    for index, part in enumerate(copies):
        part._id = _digest(f"{place}/{index}")
    return copies


def _digest(text: str) -> str:
    """As long as the ids that W&B draws."""
    return hashlib.sha256(text.encode()).hexdigest()[:11]
