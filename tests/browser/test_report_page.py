"""Claims about the page of a report, in a real browser without a network: it draws, leads on, adapts, and runs nothing it was given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from factory import KL, METRIC, StudyFactory, whole_study

from analysis.report.write import Wishes, write_report
from harness.status import load_study
from harness.types import Objective, TrialState

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = "<script>top['ran']=1</script><img src=x onerror=\"top['ran']=1\"> 'q' \"Q\" %{x} {{ 7*7 }}\nline two 🧪"
PHONE = {"viewport": {"width": 390, "height": 800}, "has_touch": True}


@dataclass(slots=True)
class Opened:
    page: Page
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # for anything but files


@contextmanager
def opened(chromium: Browser, path: Path, **options: Any) -> Iterator[Opened]:
    page = chromium.new_page(**options)
    view = Opened(page=page)
    page.on("console", lambda message: view.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: view.errors.append(str(error)))
    page.on("request", lambda request: view.asked.append(request.url) if not request.url.startswith(("file:", "data:", "blob:")) else None)
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-drawn]", timeout=60_000)
    yield view
    page.close()


def report(study: StudyFactory) -> Path:
    return write_report(load_study(study.paths))[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = whole_study(tmp_path_factory.mktemp("whole"), gpus=True)
    study.engine(7, log="what the engine said\n")
    return report(study)


def test_every_figure_is_drawn_without_an_error_or_a_network(chromium: Browser, whole: Path) -> None:
    with opened(chromium, whole) as view:
        plots = view.page.locator(".plot")
        assert plots.count() >= 8
        assert all(plot.locator(".main-svg, canvas").count() for plot in plots.all())
        assert (view.errors, view.asked) == ([], [])


def test_every_link_within_the_page_leads_somewhere_and_every_file_is_there(chromium: Browser, whole: Path) -> None:
    with opened(chromium, whole) as view:
        links = view.page.evaluate("[...document.links].map((link) => link.getAttribute('href'))")
        ids = set(view.page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)"))
    within = {link[1:] for link in links if link.startswith("#")}
    files = {link for link in links if not link.startswith("#")}
    assert within <= ids
    assert "trial-6" in within
    assert files
    assert all((whole.parent / file).is_file() for file in files)


def test_a_click_on_a_point_leads_to_its_trial(chromium: Browser, whole: Path) -> None:
    with opened(chromium, whole) as view:
        plot = view.page.locator("#progress .plot")
        plot.scroll_into_view_if_needed()
        point = plot.locator(".points path.point").first
        point.hover(force=True)
        view.page.wait_for_selector("#progress .hovertext")
        point.click(force=True)
        view.page.wait_for_function("location.hash.startsWith('#trial-')")
        assert view.page.locator("tr:target").count() == 1


def test_a_choice_redraws_its_figure(chromium: Browser, whole: Path) -> None:
    with opened(chromium, whole) as view:
        before = view.page.locator("#slices .xtitle").text_content()
        view.page.select_option("select[data-figure=slices]", "1")
        view.page.wait_for_function("(before) => document.querySelector('#slices .xtitle').textContent !== before", arg=before)
        assert view.errors == []


def test_what_a_study_holds_is_shown_and_not_run(chromium: Browser, tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, "a<b>&'c'", knobs=(KL, HOSTILE), command=("-m", HOSTILE), n_trials=12)
    for number in (*range(4), *range(5, 12)):
        study.ended(number, values=(0.1 * number,), params={KL: 10.0**-number, HOSTILE: f"{number % 2}{HOSTILE}"}, message=HOSTILE)
    study.ended(4, TrialState.FAIL, params={KL: 0.1, HOSTILE: "</script><script>top['ran']=1</script>"}, message=HOSTILE)
    with opened(chromium, report(study)) as view:
        assert view.page.title() == "a<b>&'c': report"
        assert view.errors == []
        assert view.page.evaluate("document.querySelectorAll('img, script:not([nonce]):not([type])').length") == 0
        text = view.page.locator("body").inner_text()
        assert "<script>top['ran']=1</script>" in text
        assert "🧪" in text
        assert view.page.evaluate("top['ran']") is None
        view.page.select_option("select[data-figure=slices]", "1")
        view.page.wait_for_function(
            "[...document.querySelectorAll('#slices .xtick')].some((tick) => tick.textContent.includes('1<script>'))"
        )
        for place in ("#parallel .axis-title", "#importance .ytick"):
            assert "<script>" in "".join(view.page.locator(place).all_text_contents()), place


def test_several_objectives_have_a_front(chromium: Browser, tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, objectives=(Objective(metric=METRIC), Objective(metric="response_length/mean")))
    for number in range(6):
        study.ended(number, values=(0.1 * number, 100.0 - number * number))
    with opened(chromium, report(study)) as view:
        assert view.page.locator("#pareto .points path.point").count() == 6
        assert view.errors == []


@pytest.mark.parametrize("options", [{}, PHONE, {"color_scheme": "dark"}], ids=["screen", "phone", "dark"])
def test_nothing_is_wider_than_the_page(chromium: Browser, whole: Path, options: dict[str, Any]) -> None:
    with opened(chromium, whole, **options) as view:
        assert view.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert view.errors == []


def test_the_page_and_its_figures_follow_the_readers_colours(chromium: Browser, whole: Path) -> None:
    colours = "[getComputedStyle(document.body).backgroundColor, document.querySelector('#progress .plot').layout.font.color]"
    with opened(chromium, whole) as view:
        light = view.page.evaluate(colours)
        view.page.emulate_media(color_scheme="dark")
        view.page.wait_for_function(f"JSON.stringify({colours}) !== {str(light).replace(chr(39), chr(34))!r}")
        page, font = view.page.evaluate(colours)
        assert (page, font) == ("rgb(20, 24, 31)", "#e6e9ee")


def test_the_page_prints(chromium: Browser, whole: Path) -> None:
    with opened(chromium, whole) as view:
        assert view.page.pdf(format="A4").startswith(b"%PDF")
        assert view.errors == []


@pytest.mark.slow
def test_figures_and_a_pdf_are_written_on_demand(chromium: Browser, tmp_path: Path) -> None:
    study = StudyFactory(tmp_path, n_trials=2)
    for number in range(2):
        study.ended(number)
    paths = write_report(load_study(study.paths), Wishes(figures="svg", pdf=True))
    drawn = [path for path in paths if path.suffix == ".svg"]
    assert len(drawn) >= 5
    assert all(path.read_text().startswith("<svg") for path in drawn)
    assert paths[-1].read_bytes().startswith(b"%PDF")
