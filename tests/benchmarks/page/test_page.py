"""The report page: its numbers are the records', and in a browser it does what it says."""

import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
import torch

import benchmarks
from benchmarks import record
from benchmarks.page import html, players
from benchmarks.page.__main__ import Page, main
from benchmarks.page.text import packed
from benchmarks.table1 import table
from encoders.fetch import DataError
from encoders.functional import encode, encode_latency
from encoders.keyword_network import KeywordStream, load_network
from encoders.mnist import embedded_digits
from encoders.speech_commands import find_recordings
from rc_snn.network import load
from rc_snn.spikes import Decision, spike_steps

CHROMIUM = "/usr/bin/chromium"
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
"""Chromium asks hosts of its own at each start unless it is told not to."""


class Parsed(HTMLParser):
    """What a page loads, and the tags that were opened and not closed."""

    VOID = ("meta", "link", "input", "br", "img")

    def __init__(self, text):
        super().__init__()
        self.open, self.loaded = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        names = ("src", "srcset", "data", "action") if tag == "a" else ("src", "href", "srcset")
        self.loaded += [v for k, v in attrs if k in names and not (v or "").startswith("#")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "rc_snn.html"
    assert main(Page(out=out)) == 0
    return out


def content(path):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())
    return json.loads(found[1])


@pytest.fixture(scope="module")
def data(page):
    return content(page)


# -- The file -----------------------------------------------------------------------------------


def test_it_is_well_formed_and_loads_nothing(page):
    text = page.read_text()
    parsed = Parsed(text)
    assert parsed.open == []
    assert parsed.loaded == ["data:,"]  # no icon, which browsers would ask for
    styles = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in styles
    assert "@import" not in styles
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    script = text.rsplit("<script>", 1)[1]
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|WebSocket|innerHTML|eval\(", script)


def test_every_line_of_table_1_is_its_records(data):
    lines = [line for line in data["table1"] if line["records"]]
    records = [[_record(data, i) for i in line["records"]] for line in lines]
    shown = {r["name"] for group in records for r in group}
    assert shown == {r.name for r in table.paper_records(record.RESULTS / "table1")}
    for line, group in zip(lines, records, strict=True):
        held_out = [r for r in group if r["config"]["protocol"] != "paper"] or group
        values = line["values"]
        assert values["accuracy"] == mean(100 * r["metrics"]["accuracy"] for r in held_out)
        for clock in data["clocks"]:
            means = [r["metrics"][clock]["mean"] for r in held_out]
            assert values[clock] == (None if None in means else mean(means))
        seeds = {r["config"]["train"].get("seed") for r in group}
        assert seeds == {data["records"][i]["seed"] for i in line["records"]}
    # As text they are the cells of the table that `python -m benchmarks.table1` writes.
    written = table.table1(table.paper_records(record.RESULTS / "table1"), "MNIST", "markdown")
    for line in data["table1"]:
        cells = [*line["cells"].values()]
        assert f"| {' | '.join(cells)} |" in written if line["records"] else cells[1] in written


def test_what_is_said_of_a_record_is_in_its_file(data):
    for i, shown in enumerate(data["records"]):
        r = _record(data, i)
        assert r["commit"].startswith(shown["commit"])
        assert (r["command"], r["dirty"]) == (shown["command"], shown["dirty"])
        assert (r["machine"]["gpu"] or r["machine"]["cpu"]) in shown["machine"]


def test_figures_peers_curves_and_speed_name_their_records(data):
    titles = [figure["title"].split(":")[0] for figure in data["figures"]]
    assert titles[:5] == [f"Figure {n}" for n in range(1, 6)]
    for part in (*data["figures"], *data["curves"], *data["speed"], *data["training"]):
        assert part["records"], part.get("title")
    assert data["peers"]["records"]
    rows = [_record(data, i)["metrics"]["rows"] for i in data["peers"]["records"]]
    for row in data["peers"]["rows"]:
        own = [100 * r[row["name"]]["area"] for r in rows]
        assert row["cells"][0]["value"] == pytest.approx(mean(own))
    for part in data["speed"]:
        [r] = [_record(data, i) for i in part["records"]]
        assert part["ratios"] == r["metrics"].get("ratios", [])


def _record(data, place):
    return json.loads((record.RESULTS / data["records"][place]["file"]).read_text())


def test_a_folder_of_ones_own_shows_ones_own_rows_and_says_what_it_lacks(tmp_path):
    digits = embedded_digits().test
    label = digits.labels.clone()
    label[:250] = (label[:250] + 1) % 10
    step, fired = torch.full_like(label, 3), torch.ones_like(label, dtype=torch.bool)
    decision = Decision.at_steps(step, 10, fired, torch.eye(10)[label])
    name = "mine </script><script>alert(1)"
    with pytest.raises(ValueError, match="needs a name without"):
        benchmarks.score(name, decision, digits.labels, n_steps=10, results=tmp_path)
    name = "mine <b>&amp;"
    benchmarks.score(name, decision, digits.labels, n_steps=10, results=tmp_path, data="toys")
    main(Page(out=tmp_path / "mine.html", results=tmp_path))
    found = content(tmp_path / "mine.html")
    [line] = [line for line in found["table1"] if line["records"]]
    assert line["yours"]
    assert line["cells"]["model"] == name
    assert line["values"]["accuracy"] == 75.0
    assert line["values"]["strict_clock"] == pytest.approx(0.4)
    assert all("missing" in figure for figure in found["figures"])
    assert "missing" in found["peers"]


def test_what_is_no_page_of_ours_is_left_alone(tmp_path):
    other = tmp_path / "thesis.html"
    other.write_text("mine")
    with pytest.raises(ValueError, match="is not a page that this command wrote"):
        main(Page(out=other))
    assert other.read_text() == "mine"
    with pytest.raises(ValueError, match="is a folder"):
        main(Page(out=tmp_path))
    html.check_ours(tmp_path / "new.html")


def test_without_records_there_is_no_page(tmp_path):
    with pytest.raises(ValueError, match=r"holds no records.*--results"):
        main(Page(out=tmp_path / "page.html", results=tmp_path / "none"))
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("name", ["rc-convlstm-10-fast", "alpha-psp-340-fast-published"])
def test_other_networks_than_an_rc_lstm_are_refused(name):
    with pytest.raises(ValueError, match="Pass --network"):
        players.weights(load(name))


# -- In a browser -------------------------------------------------------------------------------


def _missing(what):
    if "RC_SNN_BROWSER" in os.environ:
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed")
    path = shutil.which("chromium") or CHROMIUM
    if not Path(path).exists():
        _missing(f"there is no Chromium at {path}")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def tab(browser, page):
    """Open the page; at the end, nothing may have gone wrong, nor been asked of anybody."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened, wrong, asked = context.new_page(), [], []
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(page.as_uri())
    yield opened
    assert wrong == []
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    context.close()


def _column(tab, head):
    heads = tab.locator("#table1 thead th").all_inner_texts()
    place = [h.strip() for h in heads].index(head)
    return tab.locator(f"#table1 tbody tr > :nth-child({place + 1})").all_text_contents()


def _until(tab, condition):
    """Wait for something to be so; `wait_for_function` is an eval, which the page forbids."""
    for _ in range(200):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    pytest.fail(f"in 10 s it was never so: {condition}")


def test_switches_change_what_is_shown(tab, data):
    for clock in ("step clock", "input seen", "strict clock"):
        tab.click(f"#clock label:has-text('{clock}')")
        shown = [x.replace(" ", "") for x in _column(tab, clock)]
        assert shown == [r["cells"].get(clock, "—").replace(" ", "") for r in data["table1"]]
        key = clock.replace(" ", "_")
        drawn = [r for r in data["table1"] if r["values"].get(key) is not None]
        assert tab.locator("#frontier .point").count() == len(drawn)
    tab.click("#cost label:has-text('MACs')")
    dense = [r["cells"].get("dense MMACs (of full)", "—") for r in data["table1"]]
    shown = _column(tab, "dense MMACs (of full)")
    assert [x.replace(" ", "") for x in shown] == [x.replace(" ", "") for x in dense]
    before = tab.locator("#frontier .point").first.get_attribute("transform")
    tab.click("#axis label:has-text('linear')")
    assert tab.locator("#frontier .point").first.get_attribute("transform") != before
    tab.check("#swept")
    assert tab.locator("#frontier polyline").count() == len(data["curves"])
    tab.check("#measured-only")
    assert len(_column(tab, "ours %")) == sum(bool(r["records"]) for r in data["table1"])


def test_heads_sort_and_numbers_say_where_they_come_from(tab, data):
    accuracies = [r["values"].get("accuracy") for r in data["table1"] if r["cells"].get("ours %")]
    head = tab.get_by_role("button", name="ours %")
    head.click()
    shown = [float(re.match(r"[\d.]+", x)[0]) for x in _column(tab, "ours %") if x[0] != "—"]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == pytest.approx(max(accuracies), abs=0.005)
    head.click()
    assert tab.locator("#table1 th[aria-sort=ascending]").inner_text().strip() == "ours %"
    shown, missing = (
        _column(tab, "ours %"),
        sum(not r["cells"].get("ours %") for r in data["table1"]),
    )
    assert all(x == "—" for x in shown[len(shown) - missing :]), "no record is last, either way"
    cell = tab.locator("#table1 td[data-records]").first
    cell.hover()
    places = json.loads(cell.get_attribute("data-records"))
    tip = tab.locator("#tip").inner_text()
    for place in places[:3]:
        assert data["records"][place]["file"] in tip
        assert data["records"][place]["commit"] in tip
    tab.keyboard.press("Escape")
    assert tab.locator("#tip").is_hidden()
    tab.locator("#table1 td[tabindex='0']").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#tip").is_visible()
    tab.fill("#record-search", "speed/")
    wanted = sum("speed/" in " ".join(map(str, r.values())) for r in data["records"])
    assert tab.locator("#records tbody tr").count() == wanted


def test_pixels_spike_in_the_steps_of_the_encoder(tab):
    grey = torch.arange(256, dtype=torch.uint8)
    options = product((1, 7, 10, 40, 255), ("dark_first", "bright_first"), ("last", "silent"))
    for n_steps, polarity, zero_pixels in options:
        encoder = {"polarity": polarity, "zero_pixels": zero_pixels}
        ours = spike_steps(encode_latency(grey.view(1, 1, 256), **encoder), n_steps)
        page = tab.evaluate(
            "([grey, encoder, n]) => [...spikeSteps(grey, encoder, n)]",
            [grey.tolist(), encoder, n_steps],
        )
        assert page == ours[0].tolist()


def test_the_network_in_the_page_decides_as_decide_does(tab):
    """On 100 images and three thresholds: what, when, and did it fire, and the scores."""
    network, images = load("rc-lstm-340-fast"), embedded_digits().test.images[:1000:10]
    times, thetas = encode(images, **network.encoder), [0.5, 0.95, 0.9995]
    tab.click("#tab-play")
    said = tab.evaluate(
        """([images, thetas]) => images.map((grey) => {
            const { network, about } = players.digit;
            const { trace } = traceDigit(network, about.encoder, bytesOf(grey));
            return thetas.map((theta) => {
                const { step, fired, label, scores } = decide(trace, theta);
                return { step, fired, label, scores: [...scores] };
            });
        })""",
        [[packed(image, "u1") for image in images], thetas],
    )
    waited = set()
    for k, theta in enumerate(thetas):
        ours = replace(network, theta=theta).decide(times)
        page = [answers[k] for answers in said]
        assert [a["label"] for a in page] == ours.label.tolist()
        assert [a["step"] for a in page] == ours.step.tolist()
        assert [a["fired"] for a in page] == ours.fired.tolist()
        np.testing.assert_allclose([a["scores"] for a in page], ours.scores, rtol=0, atol=1e-4)
        waited |= {a["step"] for a in page}
    assert len(waited) > 3  # else steps would be compared with one another's zeros


@pytest.mark.slow
def test_words_are_heard_as_by_the_stream(tab, data):
    try:
        recordings = find_recordings("test", download=False)
    except DataError as error:
        pytest.skip(str(error))
    tab.click("#tab-play")
    for i, clip in enumerate(data["words"]["clips"]):
        stream = KeywordStream(load_network("rc-lstm-keywords"))
        stream.push(recordings.read(clip["file"]))
        ours = stream.finish()
        tab.locator("#word-choice button").nth(i).click()
        page = tab.evaluate(
            "({ ...players.word.decision, scores: [...players.word.decision.scores] })"
        )
        assert (page["label"], page["step"]) == (int(ours.label), int(ours.step))
        assert page["fired"] == bool(ours.fired)
        np.testing.assert_allclose(page["scores"], ours.scores[0], rtol=0, atol=1e-4)
        answer = tab.locator("#word-answer").inner_text()
        if page["fired"]:
            assert f"fired at {stream.heard_ms:g} ms" in answer
    tab.click("#word-play")
    _until(tab, "players.word.at > 300")
    _until(tab, "!players.word.playing")


@pytest.mark.slow
def test_theta_is_a_slider_and_a_digit_can_be_drawn(tab):
    tab.click("#tab-play")
    steps = "players.digit.known.map(({ trace }) => decide(trace, players.digit.theta).step)"
    seen = []
    for key in ("Home", "End"):
        tab.focus("#digit-theta")
        tab.keyboard.press(key)
        seen.append((float(tab.locator("#digit-theta-out").inner_text()), tab.evaluate(steps)))
    (low, early), (high, late) = seen
    assert low < 0.21
    assert high > 0.9998
    assert sum(early) < sum(late)
    assert all(a <= b for a, b in zip(early, late, strict=True))
    tab.click("#digit-reset")
    assert tab.locator("#digit-theta-out").inner_text() == "0.950"

    pad = tab.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    corners = ((0.2, 0.2), (0.8, 0.2), (0.45, 0.85))  # a seven, off the middle
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    tab.mouse.move(*at[0])
    tab.mouse.down()
    for point in at[1:]:
        tab.mouse.move(*point, steps=12)
    tab.mouse.up()
    assert tab.locator("#digit-answer strong").inner_text() == "7"
    assert tab.locator("#digit-choice [aria-pressed=true]").count() == 0

    tab.locator("#digit-choice button").first.click()
    tab.click("#digit-play")
    _until(tab, "players.digit.at >= 2")
    before = tab.locator("#digit-chart polyline").first.get_attribute("points")
    _until(tab, "players.digit.at >= 6")
    now = tab.locator("#digit-chart polyline").last.get_attribute("points")
    assert len(now) > len(before)
    tab.click("#digit-play")


@pytest.mark.slow
def test_it_fits_a_phone_and_follows_a_dark_screen(browser, page):
    """And leaves screenshots where RC_SNN_SCREENSHOTS says; those in docs are made so."""
    screens = {
        "light": {"viewport": {"width": 1280, "height": 860}},
        "dark": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "dark"},
        "phone": {
            "viewport": {"width": 360, "height": 740},
            "device_scale_factor": 2,
            "is_mobile": True,
        },
    }
    backs = {}
    for name, options in screens.items():
        context = browser.new_context(**options)
        opened = context.new_page()
        opened.goto(page.as_uri())
        for part in ("results", "play"):
            opened.click(f"#tab-{part}")
            opened.wait_for_selector("#frontier svg" if part == "results" else "#word-section")
            assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
            if folder := os.environ.get("RC_SNN_SCREENSHOTS"):
                opened.wait_for_timeout(500)
                opened.screenshot(path=Path(folder, f"{part}_{name}.png"))
        backs[name] = opened.evaluate("getComputedStyle(document.body).backgroundColor")
        context.close()
    assert backs["light"] == backs["phone"] != backs["dark"]
