"""The page of a report: what stands in it, and that it needs and gives away nothing else."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from support.children import completed
from support.markup import Markup
from support.reported import facts_of, push, search_run, trial, trials_of
from support.statuses import progress

from controller.ledger import Ledger
from deploy.report.facts import Facts
from deploy.report.page import differing, page
from deploy.settings_file import load_settings

NAMES = ["compared", "skips", "cells", "one", "empty", "infeasible"]


@pytest.fixture(scope="session")
def pages(files):
    """Give the page about each run, as text and as a tree."""
    texts = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    return {name: (text, Markup(text).root) for name, text in texts.items()}


@pytest.fixture(params=NAMES)
def shown(request, pages):
    return pages[request.param]


def table_of(figure):
    """Give the heading and the rows of the numbers of a figure."""
    [head] = figure.all("thead")
    [body] = figure.all("tbody")
    cells = [
        [cell.text for cell in row.all() if cell.tag in ("th", "td")] for row in body.all("tr")
    ]
    return [cell.text for cell in head.all("th")], cells


# --- Of every page.


def test_page_asks_for_nothing(shown):
    text, root = shown
    assert re.findall(r"https?:|//", text) == []
    for element in root.all():
        assert element.tag not in ("script", "iframe", "object", "embed", "img", "base", "form")
        assert element.attributes.get("src") is None
        assert not [name for name in element.attributes if name.startswith("on")]
        if element.tag != "link":
            assert element.attributes.get("href", "#").startswith("#")
    assert [link.attributes["href"] for link in root.all("link")] == ["data:,"]
    [policy] = [m for m in root.all("meta") if "http-equiv" in m.attributes]
    assert policy.attributes["content"].startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []


def test_ids_are_unique_and_links_lead_somewhere(shown):
    _, root = shown
    ids = [e.attributes["id"] for e in root.all() if "id" in e.attributes]
    assert len(set(ids)) == len(ids)
    for element in root.all():
        for name in ("href", "aria-labelledby"):
            if name in element.attributes and element.tag != "link":
                assert element.attributes[name].removeprefix("#") in ids


def test_headings_go_down_one_by_one(shown):
    _, root = shown
    levels = [int(e.tag[1]) for e in root.all() if re.fullmatch("h[1-6]", e.tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_figures_have_a_caption_a_label_and_numbers(shown):
    _, root = shown
    for figure in root.all("figure"):
        [caption] = figure.all("figcaption")
        assert len(caption.text) > 20
        drawings = list(figure.all("svg"))
        assert drawings
        for svg in drawings:
            assert svg.attributes["role"] == "img"
            assert len(svg.attributes["aria-label"]) > 10
        if "card" not in figure.attributes.get("class", ""):
            columns, rows = table_of(figure)
            assert rows
            assert all(len(row) == len(columns) for row in rows)


def test_tables_say_what_their_headings_are_of(shown):
    _, root = shown
    assert all(heading.attributes["scope"] in ("col", "row") for heading in root.all("th"))


def test_what_scrolls_is_reached_by_keyboard_and_named(shown):
    _, root = shown
    scrolling = [e for e in root.all() if "scroll" in e.attributes.get("class", "").split()]
    assert scrolling
    for element in scrolling:
        assert element.attributes["tabindex"] == "0"
        assert element.attributes["role"] == "region"
        assert element.attributes["aria-label"]


def test_page_has_landmarks_and_a_language(shown):
    _, root = shown
    [html] = root.all("html")
    assert html.attributes["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer"):
        assert len(list(root.all(landmark))) == 1
    first = next(root.all("a"))
    [main] = root.all("main")
    assert first.attributes == {"class": "skip", "href": f"#{main.attributes['id']}"}


def test_same_ledger_gives_the_same_bytes(runs, pages):
    facts = Facts.read(runs["digits"])
    assert page(facts, Facts.read(runs["random"])) == pages["compared"][0]


# --- What is said.


def test_tiles_hold_the_figures_of_the_search(pages):
    _, root = pages["compared"]
    tiles = {
        div.children[0].text: [d.text for d in div.all("dd")]
        for div in next(root.all("dl")).all("div")
    }
    assert tiles["Trials"] == ["40", "of 40, 5 infeasible"]
    assert tiles["Best accuracy"] == ["88.2%", "trial 40, 3,900 parameters"]
    assert tiles["Test accuracy"][0] == "87.5%"
    assert set(tiles) == {
        "Trials", "Best accuracy", "Test accuracy", "Mean reward", "Lead", "Ran for"
    }  # fmt: skip


def test_numbers_of_the_rewards_are_their_means_and_the_best_so_far(runs, pages):
    facts = Facts.read(runs["digits"])
    _, root = pages["compared"]
    columns, rows = table_of(root.by_id("figure-rewards"))
    assert columns == ["trials", "mean reward", "best so far", "mean reward, “random”"]
    end = 0
    for name, mean, best, _ in rows:
        start, end = end, int(name.split()[-1])
        assert mean == f"{sum(facts.rewards[start:end]) / (end - start):.3f}"
        assert best == f"{max(facts.rewards[:end]):.3f}"
    assert end == 40
    assert [row[3] != "" for row in rows] == [int(row[0].split()[0]) <= 30 for row in rows]


def test_numbers_of_the_lead_are_differences_in_favour_of_the_better():
    cells, digits = load_settings("cells"), load_settings("digits")
    for settings, good, sign in ((digits, 0.75, "+50.0%"), (cells, 3.0, "+1.000")):
        bad = 0.25 if settings is digits else 4.0
        ours, other = (
            facts_of(
                settings, [trial(1, reward=reward, validation=figure)],
                progress(num_recorded=1, metric=settings.task.metric), name=name,
            )
            for name, reward, figure in (("ours", 0.9, good), ("other", 0.1, bad))
        )  # fmt: skip
        root = Markup(page(replace(ours), other)).root
        assert table_of(root.by_id("figure-lead"))[1] == [["1", sign, "", ""]]


def test_best_are_different_architectures_the_best_first(pages):
    _, root = pages["compared"]
    [table] = [t for t in root.all("table") if t.attributes.get("class") == "winners"]
    rows = [[cell.text for cell in row.all() if cell.tag == "td"] for row in table.all("tr")][1:]
    assert len(rows) == 10
    assert [float(row[1]) for row in rows] == sorted((float(row[1]) for row in rows), reverse=True)
    assert rows[0][0] == "40"
    assert len({row[-1] for row in rows}) == 10
    cards = [f for f in root.all("figure") if f.attributes.get("class") == "card"]
    assert [card.by_id(f"drawing-{n}-layer-1").tag for n, card in enumerate(cards, 1)] == ["g"] * 10


def test_best_networks_have_a_column_for_what_the_reward_minds():
    chosen = ["objective.cost=latency_s", "objective.target=1"]
    settings = load_settings(overrides=chosen)
    [one, other] = trials_of(settings, 2, lambda number: 0.5 / number)
    measured = [replace(one, metrics={"latency_s": 0.00123456}), other]
    root = Markup(page(facts_of(settings, measured, progress()))).root

    [table] = [t for t in root.all("table") if t.attributes.get("class") == "winners"]
    head, *rows = [
        [cell.text for cell in row.all() if cell.tag in ("th", "td")] for row in table.all("tr")
    ]
    assert head[5:8] == ["parameters", "latency_s", "seconds"]
    assert [row[5:8] for row in rows] == [["10", "0.001235", "1.0"], ["10", "", "1.0"]]


def test_choices_are_named_by_their_values(pages):
    _, root = pages["skips"]
    assert table_of(root.by_id("figure-choice-filter-height"))[0][1:] == ["1", "3", "5"]
    names = table_of(root.by_id("figure-choice-layer-type"))[0][1:]
    assert names == ["convolution", "max pooling"]
    assert table_of(root.by_id("figure-choice-learning-rate"))[0][1:] == ["0.02", "0.05"]
    assert table_of(root.by_id("figure-choice-skips"))[0][1:] == ["1", "2", "3"]
    _, root = pages["cells"]
    names = table_of(root.by_id("figure-choice-activation"))[0][1:]
    assert names == ["identity", "tanh", "sigmoid", "relu"]


@pytest.mark.parametrize("num_known", [0, 12, 20])
def test_entropy_is_drawn_where_the_probability_of_every_list_is_known(num_known):
    settings = load_settings("digits")
    trials = [
        each if each.trial <= num_known else replace(each, log_probs=[])
        for each in trials_of(settings, 20, lambda n: 0.5)
    ]
    text = page(facts_of(settings, trials, progress(num_recorded=20)))
    assert ("Entropy of the policy" in text) == (num_known == 20)


def test_staleness_is_counted(pages):
    _, root = pages["compared"]
    _, rows = table_of(root.by_id("figure-staleness"))
    assert [row[:2] for row in rows] == [["0", "13"], ["1", "14"], ["2", "13"]]


def test_staleness_of_samples_is_told_where_it_differs():
    settings = load_settings("digits")
    pushes = [push(n, 1, 1 + n % 2) for n in range(1, 11)]
    told = page(facts_of(settings, [trial(1)], progress(), pushes=pushes))
    assert "Since its oldest architecture was sampled: 1.50 on average, 2 at most." in told
    assert "oldest architecture" not in page(
        facts_of(settings, [trial(1)], progress(), pushes=[push(n, 1) for n in range(1, 11)])
    )


def test_reasons_are_put_together_and_escaped(pages):
    text, root = pages["compared"]
    [row] = [[cell.text for cell in row.all()] for row in next(
        root.by_id("infeasible").all("tbody")).all("tr")]  # fmt: skip
    assert row == ["5", "12.5%", "7", "max_parameters=6: the network has <6>"]
    assert "has <6>" not in text


def test_search_in_which_nothing_could_be_trained_says_so(pages):
    text, root = pages["infeasible"]
    assert "No network could be trained." in text
    assert "too &lt;i&gt;large&lt;/i&gt;" in text
    assert "best" not in {e.attributes.get("id") for e in root.all()}


def test_search_with_one_result_is_told_as_such(pages):
    text, root = pages["one"]
    assert "The only architecture that was trained." in text
    assert "How long 1 child trained: 1.0 s in the median" in text
    assert "Of all so far: 1 (" in text
    assert "figure-staleness-moves" not in {e.attributes.get("id") for e in root.all()}


def test_search_without_a_result_says_so(pages):
    text, root = pages["empty"]
    assert "No trial has a result yet" in text
    assert "Stopped on" in text
    assert "by hand" in text
    assert list(root.all("figure")) == []


def test_settings_and_versions_are_there_without_the_password(pages):
    text, root = pages["secret"]
    assert "hush-hush" not in text
    rows = {row.children[0].text: row.children[1].text for row in root.by_id("settings").all("tr")}
    assert rows["ledger_url"] == "postgresql+psycopg://me:***@db/nasrl"
    assert rows["space.filter_heights"] == "1, 3, 5"
    assert rows["nasrl"] == "0.1.0"


def test_other_search_with_other_settings_is_told(runs, pages):
    one, skips, random = (Facts.read(runs[name]) for name in ("one", "skips", "random"))
    assert differing(one, random) == []
    assert ("schedule.num_layers", "3", "4") in differing(one, skips)
    text = page(one, skips)
    assert "“skips” is not the same search without learning: 4 settings differ" in text
    assert "not the same search" not in pages["compared"][0]


@pytest.mark.parametrize("name", ['<script>"&', "$\\frac$ _x", "网络", "_", "x" * 200])
@pytest.mark.filterwarnings("error")
def test_any_name_of_a_run_can_stand_in_it(name, runs):
    facts = replace(Facts.read(runs["one"]), name=name)
    root = Markup(page(facts, replace(facts, name=f"{name} 2"))).root
    [heading] = root.all("h1")
    assert heading.text == " ".join(name.split())


def test_settings_of_a_search_that_runs_are_told_with_its_last_result():
    facts = facts_of(load_settings("digits"), [trial(1, recorded_at=1.8e9)], progress())
    assert "Running, last result on 2027-01-15 08:00 UTC." in page(facts)


@pytest.mark.parametrize("figure", [float("inf"), float("nan")])
def test_figures_that_are_not_finite_are_no_trouble(figure):
    settings = load_settings("cells")
    trials = [trial(n, reward=0.1, validation=figure if n == 2 else 5.0) for n in range(1, 20)]
    facts = facts_of(settings, trials, progress(metric=settings.task.metric))
    Markup(page(facts, replace(facts, name="other")))


def test_page_of_very_many_trials_is_small():
    settings = load_settings("digits")
    few = trials_of(settings, 500, lambda n: n % 100 / 100)
    trials = [
        replace(few[n % 500], trial=n, record_number=n, seconds=n % 50 + 0.5)
        for n in range(1, 15_001)
    ]
    pushes = [push(n, n % 700) for n in range(1, 15_001)]
    facts = facts_of(settings, trials, progress(num_recorded=15_000), pushes=pushes)
    assert len(page(facts, replace(facts, name="other"))) < 2_000_000


def test_networks_that_were_trained_to_their_end_have_mean_and_spread(pages):
    text, root = pages["skips"]
    [table] = root.by_id("retrained").all("table")
    rows = [
        [cell.text for cell in row.all() if cell.tag in ("th", "td")] for row in table.all("tr")
    ]
    mean, spread = np.mean([0.91, 0.95, 0.96]), np.std([0.91, 0.95, 0.96], ddof=1)
    assert rows[1:] == [
        ["2", "4,321", "7", "85.0%", "", "1", ""],
        ["25", "1,234", "10 to 12", f"{mean:.1%}", f"{spread:.1%}", "3", "91.0% to 96.0%"],
    ]
    assert f"±{spread:.1%} over 3 seeds" in text


def test_search_that_was_not_retrained_has_no_section_for_it(pages):
    text, _ = pages["compared"]
    assert 'id="retrained"' not in text
    assert "#retrained" not in text


def test_search_that_was_killed_does_not_say_that_it_runs(tmp_path):
    digits = load_settings("digits")
    run = search_run(tmp_path / "killed", digits, [completed(0.5), completed(0.7)])
    with Ledger(run.ledger_url) as ledger:
        ledger.begin_life("here", 1)
    assert not Facts.read(run).is_silent

    run = search_run(tmp_path / "longer", digits, [completed(0.5), completed(0.7)])
    with Ledger(run.ledger_url, clock=lambda: 1000.0) as ledger:
        ledger.begin_life("here", 1)
    facts = Facts.read(run)
    assert facts.is_silent
    assert "Ended without a word, last result on " in page(facts)
