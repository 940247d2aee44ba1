"""The page of a report in a real browser: what is to be seen, and reached by keyboard."""

import pytest
from support.browser import Browser, chromium

import nasrl

pytestmark = pytest.mark.skipif(chromium() is None, reason="there is no chromium")

SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
# Of every figure and every drawing in it that is to be seen: what it is, its place and size.
FIGURES = """[...document.querySelectorAll('figure')].map(figure => {
  const seen = [...figure.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect())
    .filter(box => box.width > 0)
  const box = figure.getBoundingClientRect()
  return {name: figure.id, width: box.width, right: box.right,
          drawings: seen.map(box => [box.width, box.height])}
})"""
# The letters of charts, as large as they are on the screen, in pixels.
LETTERS = """[...document.querySelectorAll('.chart svg')]
  .filter(svg => svg.getBoundingClientRect().width)
  .flatMap(svg => [...svg.querySelectorAll('text')])
  .map(text => {
    const {a, b} = text.getScreenCTM()
    return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b)
  })"""
# What has a text of its own: its colour, that of what it stands on, and the text.
TEXTS = """[...document.querySelectorAll('body *')].filter(element =>
    element.getClientRects().length && !element.closest('.drawing') && !element.matches('.skip') &&
    [...element.childNodes].some(node => node.nodeType == 3 && node.data.trim()))
  .map(element => {
    const style = getComputedStyle(element)
    let below = element
    const back = () => getComputedStyle(below).backgroundColor
    while (back() == 'rgba(0, 0, 0, 0)') below = below.parentElement
    const color = element.closest('svg') ? style.fill : style.color
    return [color, back(), element.textContent.trim()]
  })"""
INTERACTIVE = """[...document.querySelectorAll('a[href], summary, [tabindex="0"]')]
  .filter(e => e.checkVisibility({contentVisibilityAuto: true}))
  .map(e => e.outerHTML.slice(0, 90))"""
FOCUSED = "document.activeElement.outerHTML.slice(0, 90)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(params=["compared", "skips", "cells", "one", "empty", "infeasible"])
def opened(request, browser, files):
    browser.complaints.clear()
    browser.requests.clear()
    browser.prefer("light")
    browser.resize(*SIZES["desktop"])
    browser.open(files[request.param])
    browser.path = files[request.param]
    return browser


def luminance(color):
    """Give the relative luminance of rgb(r, g, b), as WCAG 2.2 defines it."""
    parts = [float(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_page_loads_alone_and_without_an_error(opened):
    assert opened.complaints == []
    assert opened.requests == [opened.path.as_uri()]


@pytest.mark.parametrize("size", SIZES)
def test_every_figure_is_seen_and_nothing_is_wider_than_the_screen(opened, size):
    opened.resize(*SIZES[size])
    width = opened.ask("innerWidth")
    assert width == SIZES[size][0]
    assert opened.ask("document.documentElement.scrollWidth") <= width
    for figure in opened.ask(FIGURES):
        assert figure["width"] > 200, figure
        assert figure["right"] <= width, figure
        assert len(figure["drawings"]) == 1, figure
        assert min(figure["drawings"][0]) > 100, figure


@pytest.mark.parametrize("size", SIZES)
def test_letters_of_charts_can_be_read(opened, size):
    opened.resize(*SIZES[size])
    letters = opened.ask(LETTERS)
    assert bool(letters) == (opened.path.stem != "empty")
    assert min(letters, default=99) >= 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_light_and_dark(opened, scheme):
    opened.prefer(scheme)
    texts = opened.ask(TEXTS)
    page = opened.ask("getComputedStyle(document.body).backgroundColor")
    assert (luminance(page) < 0.05) == (scheme == "dark")
    assert len(texts) > 10
    for color, background, text in texts:
        # The squares beside labels are no text.
        if text != "■":
            assert contrast(color, background) >= 4.5, (color, background, text)


def test_tab_reaches_all_that_can_be_used_in_their_order(opened):
    expected = opened.ask(INTERACTIVE)
    assert 'class="skip"' in expected[0]
    assert len(expected) > 3
    reached = []
    for _ in expected:
        opened.press_tab()
        reached.append(opened.ask(FOCUSED))
    assert reached == expected


def test_focus_is_seen_and_the_skip_link_comes_into_view(opened):
    opened.press_tab()
    place = opened.ask("document.activeElement.getBoundingClientRect().top")
    assert place >= 0
    assert opened.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    opened.tell("Input.dispatchKeyEvent", type="keyDown", key="Enter", text="\r",
                windowsVirtualKeyCode=13)  # fmt: skip
    opened.tell("Input.dispatchKeyEvent", type="keyUp", key="Enter", windowsVirtualKeyCode=13)
    assert opened.ask("document.activeElement.tagName") == "MAIN"


def test_folded_numbers_open(opened):
    opened.ask("document.querySelectorAll('details').forEach(each => each.open = true)")
    for size in SIZES.values():
        opened.resize(*size)
        assert opened.ask("document.documentElement.scrollWidth") <= size[0]
    assert opened.ask(
        "[...document.querySelectorAll('details table')].every(t => t.getClientRects().length)"
    )


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_page_about_a_real_search_is_whole(browser, tmp_path):
    assert nasrl_search(tmp_path / "run") == 0
    nasrl.Results(tmp_path / "run").report(tmp_path / "report.html")
    browser.complaints.clear()
    browser.resize(*SIZES["desktop"])
    browser.open(tmp_path / "report.html")
    assert browser.complaints == []
    figures = browser.ask(FIGURES)
    assert len(figures) == 2 + 1 + 3 + 10 + 4
    assert all(len(figure["drawings"]) == 1 for figure in figures)
    assert browser.ask("document.querySelector('dd').textContent") == "120"
    assert browser.ask("document.body.textContent.includes('Test accuracy')")


def nasrl_search(path):
    """Run the default search in a process of its own, and give its exit code."""
    from support.runs import SearchProcess

    with SearchProcess(path, "--run-dir", str(path)) as search:
        return search.end(timeout_s=600)[0]
