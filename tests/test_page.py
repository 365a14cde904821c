"""The page of a sweep and of runs, as a browser shows it."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import CHROMIUM, DRIVER, Browser, browsing
from tests.run_folders import losses, write_run, write_sweep
from trainer.sweep.page import write_page
from trainer.sweep.page.curves import FEWEST_POINTS, curves_of
from trainer.sweep.page.front import front_of
from trainer.sweep.page.lineage import read_lineage
from trainer.sweep.results import Results

HOSTILE = "<b></script><img src=x onerror=\"document.title='run'\"><b>&amp;"
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as opened:
        yield opened


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of 12 jobs, one that failed and one whose texts are HTML; its page."""
    folder = write_sweep(tmp_path_factory.mktemp("page") / "sweep")
    write_run(folder / "12_x", ["optimizer=rprop", "optimizer.learning_rate=5"], (), "failed", error=HOSTILE)
    write_run(folder / "13_y", [f"optimizer={HOSTILE}", "optimizer.learning_rate=0.3"], losses(3.0))
    write_page(Results.of_sweep(folder), folder / "sweep.html")
    return folder / "sweep.html"


def texts(browser: Browser, selector: str) -> list[str]:
    found: list[str] = browser.run(
        "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)", selector
    )
    return found


def job_order(browser: Browser) -> list[str]:
    return texts(browser, "#leaderboard tbody tr:not([hidden]) td:nth-child(2)")


def place_of(browser: Browser, plot: str, x: float, y: float) -> tuple[float, float]:
    """Return where in the window a plot has a point of its axes, and bring the plot there."""
    found: Any = browser.run(
        """const plot = document.getElementById(arguments[0]);
        plot.scrollIntoView({block: "center", behavior: "instant"});
        const box = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout;
        const from = {x: box.x + xaxis._offset, y: box.y + yaxis._offset};
        return [from.x + xaxis.d2p(arguments[1]), from.y + yaxis.d2p(arguments[2])];""",
        plot,
        x,
        y,
    )
    return found[0], found[1]


@needs_browser
def test_it_asks_for_nothing_and_complains_of_nothing(browser: Browser, sweep: Path) -> None:
    browser.open(sweep)
    assert browser.requested() == [sweep.resolve().as_uri()]
    assert browser.logged("browser") == []
    assert browser.run("return document.querySelectorAll('.plot .main-svg').length") > 0


@needs_browser
def test_what_matters_stands_first(browser: Browser, sweep: Path) -> None:
    browser.open(sweep)
    assert texts(browser, "h1") == ["Validation loss 0.0030 job 0"]
    assert texts(browser, "#of div") == ["optimizeradam", "learning rate0.001", "seed1"]
    told = texts(browser, "#told p")
    # Of 0.003, 0.005, 0.012, ..., 3, the seventh of thirteen is 1.003.
    assert told[0] == "0.0020 better than the next, 1.0000 better than the middle of 13."
    assert told[-1] == "14 jobs: 13 completed, 1 failed."
    assert texts(browser, "header code") == [
        "trainer optimizer=adam optimizer.learning_rate=0.001 training.seed=1"
    ]


@needs_browser
def test_a_click_on_a_heading_sorts_and_the_filter_hides(browser: Browser, sweep: Path) -> None:
    browser.open(sweep)
    assert job_order(browser)[:4] == ["0", "1", "2", "3"]
    assert job_order(browser)[-2:] == ["13", "12"]
    browser.click("th[data-key='score'] button")
    assert job_order(browser)[:3] == ["13", "11", "10"]
    browser.click("th[data-key='optimizer.learning_rate'] button")
    assert job_order(browser) == ["0", "1", "6", "7", "2", "3", "8", "9", "4", "5", "10", "11", "13", "12"]
    heading = "return document.querySelector(\"th[data-key='optimizer.learning_rate']\").ariaSort"
    assert browser.run(heading) == "ascending"
    browser.type("#filter", "SGD 0.01")
    assert job_order(browser) == ["8", "9"]
    assert texts(browser, "#shown") == ["2 of 14"]


@needs_browser
def test_a_curve_tells_its_job_when_pointed_at_and_is_selected_by_a_click(
    browser: Browser, sweep: Path
) -> None:
    browser.open(sweep)
    assert texts(browser, "tr.chosen") == []
    # Job 13 has a loss of 7 in its first epoch, and no other job has.
    x, y = place_of(browser, "curve-plot", 1, 7)
    browser.point(x, y)
    hover = "return document.querySelector('#curve-plot .hoverlayer').textContent"
    told = browser.wait(hover)
    assert "job 13" in told
    assert "<b></script><img src=x" in told  # the value of its optimizer: letters, not tags
    browser.point(x, y, press=True)
    browser.wait(
        "return document.querySelector('tr.chosen') && document.documentElement.dataset.ready === 'yes'"
    )
    assert texts(browser, "tr.chosen td:nth-child(2)") == ["13"]
    assert len(texts(browser, "#curve-plot .legendtext")) == 1
    browser.click("#clear")
    assert texts(browser, "tr.chosen") == []


@needs_browser
def test_jobs_are_selected_by_keyboard_and_the_metric_is_chosen(browser: Browser, sweep: Path) -> None:
    browser.open(sweep)
    browser.run("document.querySelector('tr[data-job=\"4\"] input').focus()")
    browser.type("tr[data-job='4'] input", " ")
    assert texts(browser, "#chosen") == ["1 selected"]
    browser.run(
        "const metric = document.getElementById('metric'); metric.value = 'validation/accuracy';"
        "metric.dispatchEvent(new Event('change'))"
    )
    browser.wait("return document.documentElement.dataset.ready === 'yes'")
    assert browser.run("return document.getElementById('curve').value") == "validation/accuracy"
    assert job_order(browser)[0] == "0"
    assert texts(browser, "th[data-key='score']") == ["validation accuracy"]


@needs_browser
def test_what_folders_say_is_text(browser: Browser, sweep: Path) -> None:
    browser.open(sweep)
    assert browser.run("return [document.querySelectorAll('img').length, document.title]") == [
        0,
        f"14 jobs: {sweep.parent}",
    ]
    assert HOSTILE in texts(browser, "#failure-table td.wide")
    assert shlex.split(browser.run("return jobs[13].command"))[1] == f"optimizer={HOSTILE}"


@needs_browser
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_the_window_and_heeds_the_dark(browser: Browser, sweep: Path, width: int) -> None:
    shades = []
    browser.emulate(width=width)
    browser.open(sweep)
    for dark in (False, True):
        browser.emulate(dark=dark, width=width)
        browser.wait("return document.documentElement.dataset.ready === 'yes'")
        assert browser.run("return document.documentElement.scrollWidth") == width
        shades.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
        ink = browser.run("return getComputedStyle(document.querySelector('#curve-plot .xtick text')).fill")
        shades.append(ink)
    browser.emulate()
    light, ink_on_light, dark_paper, ink_on_dark = (sum(json.loads(f"[{shade[4:-1]}]")) for shade in shades)
    assert light > 700 > 200 > ink_on_light
    assert dark_paper < 100 < 600 < ink_on_dark


@needs_browser
def test_it_can_be_printed(browser: Browser, sweep: Path) -> None:
    browser.emulate(dark=True)
    browser.open(sweep)
    assert browser.printed().startswith(b"%PDF")
    browser.emulate()
    assert browser.logged("browser") == []


@needs_browser
def test_a_run_has_its_curves_and_its_configuration(browser: Browser, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ["optimizer.learning_rate=0.1"], losses(0.25))
    write_page(Results.of_runs([run]), run / "report.html")
    browser.open(run / "report.html")
    assert texts(browser, "h1") == ["Validation loss 0.2500 "]
    assert len(texts(browser, "#panel-plots .plot")) == 3  # loss, accuracy and the changing learning rate
    assert "learning_rate: 0.1" in texts(browser, "#configuration-text")[0]
    assert "completed" in texts(browser, "#summary-table td")
    assert browser.logged("browser") == []


@needs_browser
def test_runs_beside_each_other_show_what_they_differ_in(browser: Browser, tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", ["optimizer.learning_rate=0.1"], losses(0.5))
    other = write_run(tmp_path / "other", [], losses(0.4))
    write_page(Results.of_runs([one, other]), tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    assert texts(browser, "h1") == ["Validation loss 0.4000 run other"]
    assert texts(browser, "#difference-table td") == ["optimizer.learning_rate", "0.1", "0.002"]
    assert sorted(texts(browser, "#curve-plot .legendtext")) == ["one", "other"]
    assert browser.logged("browser") == []


@needs_browser
def test_a_population_shows_who_came_from_whom(browser: Browser, tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", rules=["adam"], seeds=[1])

    def members(*told: tuple[float | None, int | None, float]) -> dict[str, Any]:
        return {
            str(number): {
                "score": score,
                "parent": parent,
                "hyperparameters": {"optimizer.learning_rate": rate},
            }
            for number, (score, parent, rate) in enumerate(told)
        }

    generations = [
        {"epoch": 2, "members": members((0.5, None, 0.1), (0.9, None, 0.2), (0.7, None, 0.4))},
        {"epoch": 4, "members": members((0.4, None, 0.1), (0.3, 0, 0.12), (None, None, 0.4))},
    ]
    (sweep / "population.json").write_text(json.dumps({"members": 3, "generations": generations}))
    write_page(Results.of_sweep(sweep), sweep / "sweep.html")
    browser.open(sweep / "sweep.html")
    assert browser.run("return bestLineage()") == [0, 1]
    copies = browser.run("return document.getElementById('lineage-plot').data[1]")
    assert (copies["x"], copies["y"]) == ([2, 4, None], [0, 1, None])
    assert browser.run("return document.getElementById('lineage-plot').data.at(-1).marker.color") == [
        *(0.5, 0.9, 0.7, 0.4, 0.3, None)
    ]
    schedule = browser.run("return document.querySelector('#member-plots .plot').data.at(-1)")
    assert (schedule["x"], schedule["y"]) == ([0, 2, 2, 4], [0.1, 0.1, 0.12, 0.12])
    assert browser.logged("browser") == []


@needs_browser
def test_poor_members_and_jobs_leave_the_good_ones_apart(browser: Browser, tmp_path: Path) -> None:
    """Losses of which few are far above the others stand by their logarithms, counts as they are."""
    sweep = write_sweep(tmp_path / "sweep", rules=["adam"], seeds=[1])
    scores = (10.0, 0.1, 0.2, 0.3)
    told = {str(n): {"score": score, "hyperparameters": {"a": n}} for n, score in enumerate(scores)}
    population = {"members": 4, "generations": [{"epoch": 1, "members": told}]}
    (sweep / "population.json").write_text(json.dumps(population))
    write_page(Results.of_sweep(sweep), sweep / "sweep.html")
    browser.open(sweep / "sweep.html")
    marker = browser.run("return document.getElementById('lineage-plot').data.at(-1).marker")
    assert marker["color"] == pytest.approx([math.log10(score) for score in scores])
    assert [marker["colorbar"]["ticktext"][place] for place in (0, 2, 4)] == ["0.1000", "1", "10"]

    study = tmp_path / "study"
    for number, loss in enumerate((2.5, 0.18, 0.2, 0.21, 0.3)):
        test = {"loss": loss, "count": 1000 * (number + 1)}
        write_run(study / f"{number}_a", [f"training.seed={number}"], losses(loss), test=test)
    (study / "optimization_results.yaml").write_text(
        "objectives: {test/loss: minimize, test/count: minimize}\n"
    )
    write_page(Results.of_sweep(study), study / "sweep.html")
    browser.open(study / "sweep.html")
    assert browser.run("return document.querySelector('#front-plots .plot')._fullLayout.xaxis.type") == "log"
    marks = {place: texts(browser, f"#front-plots .{place}tick text") for place in "xy"}
    assert len(marks["x"]) >= 3
    assert {"1,000", "5,000"} <= set(marks["y"])
    assert browser.run("return shown('validation/loss', 595743000000)") == "5.95743e+11"


@needs_browser
def test_a_search_for_several_objectives_shows_its_front(browser: Browser, tmp_path: Path) -> None:
    """By hand: least loss and greatest accuracy; the third has the first's loss, and less accuracy."""
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    pairs = [(0.4, 0.9), (0.2, 0.7), (0.4, 0.8), (0.3, 0.6), (0.1, 0.5), (0.9, 0.99)]
    for number, (loss, accuracy) in enumerate(pairs):
        test = {"loss": loss, "accuracy": accuracy}
        status = "completed" if number < 5 else "interrupted"
        write_run(sweep / f"{number}_a", [f"training.seed={number}"], losses(loss), status, test=test)
    objectives = "objectives: {test/loss: minimize, test/accuracy: maximize}\n"
    (sweep / "optimization_results.yaml").write_text(objectives)
    write_page(Results.of_sweep(sweep), sweep / "sweep.html")
    browser.open(sweep / "sweep.html")
    front = browser.run("return document.querySelector('#front-plots .plot').data[1]")
    assert (front["x"], front["y"]) == ([0.1, 0.2, 0.4], [0.5, 0.7, 0.9])
    assert texts(browser, "#front-table tbody td:first-child") == ["4", "1", "0"]
    assert texts(browser, "#front-note")[0].startswith("3 of 5 jobs")
    assert browser.logged("browser") == []


@pytest.mark.parametrize("objectives", ["{", "objectives: 3", "objectives: {test/loss: minimize}"])
def test_a_search_for_one_objective_has_no_front(tmp_path: Path, objectives: str) -> None:
    sweep = write_sweep(tmp_path / "sweep", rules=["adam"])
    (sweep / "optimization_results.yaml").write_text(objectives)
    assert front_of(Results.of_sweep(sweep)) is None


@pytest.mark.parametrize(
    "content",
    [
        *("{", "[]", '{"members": 2, "generations": [{"epoch": 1, "members": {}}]}'),
        '{"members": 1, "generations": [{"epoch": 1, "members": {"0": {"parent": 7}}}]}',
    ],
)
def test_a_damaged_population_is_left_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "population.json").write_text(content)
    assert read_lineage(tmp_path) is None


@needs_browser
def test_jobs_without_numbers_make_a_page_too(browser: Browser, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    write_run(sweep / "0", (), (), "failed", error="out of memory")
    (sweep / "multirun.yaml").write_text("")
    write_page(Results.of_sweep(sweep), sweep / "sweep.html")
    browser.open(sweep / "sweep.html")
    assert texts(browser, "h1") == ["No job has measured validation loss yet "]
    assert texts(browser, "section h2") == ["Leaderboard", "Jobs that did not come to their end"]
    assert browser.logged("browser") == []


def test_long_curves_are_thinned_and_keep_their_ends_and_their_best(tmp_path: Path) -> None:
    records = [
        {"epoch": epoch, "step": epoch, "validation/loss": 0.0001 if epoch == 777 else 1 / epoch}
        for epoch in range(1, 3001)
    ]
    sweep = tmp_path / "sweep"
    for number in range(3):
        write_run(sweep / str(number), [], records)
    curves = curves_of(Results.of_sweep(sweep))["jobs"][0]
    assert FEWEST_POINTS < len(curves["x"]) < 500
    assert {1, 777, 3000} <= set(curves["x"])
    assert curves["lines"]["validation/loss"][curves["x"].index(777)] == 0.0001


def test_the_page_holds_all_that_it_needs(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [], losses(0.25))
    write_page(Results.of_runs([run]), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "default-src 'none'" in page
    for word in ("<script src", '<link rel="stylesheet', "@import"):
        assert word not in page.replace("plotly.js", "")
