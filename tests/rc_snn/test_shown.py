"""What a notebook shows is HTML that runs nothing; what is cited is what was used."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

import rc_snn
from bridges.stream.stream import SpikeStream
from rc_snn.models import RCLSTM
from rc_snn.network import Network
from rc_snn.regimes import account
from rc_snn.shown import citation, html
from rc_snn.spikes import Decision

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>&'
TAGS = {"table", "caption", "tr", "th", "td", "svg", "path", "div"}


class Page(HTMLParser):
    """Reads a page strictly: every tag closed in its turn, and only those that show something."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in TAGS, tag
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)
        self.tags.append(tag)
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def decision(n, steps=True):
    step = torch.arange(n) % 5
    if steps:
        return Decision.at_steps(step, 5, step < 4, torch.eye(3)[step % 3])
    time = torch.where(step < 4, step / 5.0, torch.inf)
    return Decision(step % 3, time, None, step < 4, torch.eye(3)[step % 3])


def stream(n, spikes):
    g = torch.Generator().manual_seed(0)
    at = [torch.randint(high, (spikes,), generator=g) for high in (n, 1000, 12)]
    silent = SpikeStream.silent(n, 12, 1000, 1e-3)
    return silent.with_spikes(*at) if spikes else silent


@pytest.mark.parametrize("n", [0, 1, 10, 11, 100_000])
@pytest.mark.parametrize("steps", [True, False])
def test_decisions_of_any_number_are_a_small_table_that_says_how_many_more(n, steps):
    text = decision(n, steps)._repr_html_()
    page = Page(text)
    assert page.tags.count("tr") == 1 + min(n, html.ROWS) + (n > html.ROWS)
    assert len(text) < 5_000
    assert (f"… {n - html.ROWS:,} more" in page.text) == (n > html.ROWS)
    assert f"{n:,} samples, {int(decision(n).fired.sum()):,} fired" in page.text
    assert ("no, forced" in page.text) == (n > 4)


def test_a_table_of_decisions_holds_their_values():
    d = decision(3)
    rows = re.findall(r"<tr><th>(\d+)</th>(.*?)</tr>", d._repr_html_())
    cells = [[number, *re.findall(r"<td>(.*?)</td>", rest)] for number, rest in rows]
    assert cells == [["0", "0", "0", "0.2", "yes", "1"], ["1", "1", "1", "0.4", "yes", "1"],
                     ["2", "2", "2", "0.6", "yes", "1"]]  # fmt: skip


@pytest.mark.parametrize("steps", [True, False])
def test_an_account_shows_its_numbers(steps):
    d = decision(50, steps)
    a = account(d, d.label, n_steps=5 if steps else None)
    page = Page(a._repr_html_())
    assert f"{100 * a.accuracy:.4g}" in page.words
    assert ("mean step" in page.text) == steps
    assert a.strict_clock.regime in page.text
    if not steps:
        assert "∞" in page.text, "the mean of times that hold inf"


def test_a_network_shows_what_it_says_of_itself_and_nothing_that_it_says_is_read_as_html():
    network = Network(
        name=HOSTILE.replace("/", ""),
        model=RCLSTM(6, 4, 3),
        theta=0.9,
        n_steps=5,
        classes=(HOSTILE, "b", "c"),
        encoder={HOSTILE: HOSTILE},
        measured={f"{k}": k for k in range(5_000)},
        record=HOSTILE,
    )
    page = Page(network._repr_html_())
    assert network.name in page.text
    assert page.text.count(HOSTILE) >= 3
    assert "0.9" in page.words
    assert f"… {5_000 - html.ROWS:,} more" in page.text
    assert len(network._repr_html_()) < 5_000
    weights = sum(w.numel() for w in network.model.parameters())
    assert f"RCLSTM, {weights:,} weights" in page.words


@pytest.mark.parametrize(("n", "spikes"), [(1, 0), (1, 1), (3, 500), (2, 400_000)])
def test_a_stream_is_sizes_and_a_raster_of_so_many_spikes(n, spikes):
    s = stream(n, spikes)
    text = s._repr_html_()
    page = Page(text)
    assert f"{spikes:,}" in page.words
    first = len(s.of_sample(0)[0])
    assert len(re.findall(r"M[\d.]+ [\d.]+v", text)) == min(first, html.SPIKES)
    assert len(text) < 60_000
    assert ("are drawn" in page.text) == (first > html.SPIKES)


def test_a_stream_escapes_what_it_carries():
    s = SpikeStream.silent(1, 2, 3, 1e-3)
    object.__setattr__(s, "metadata", {HOSTILE: HOSTILE})
    assert HOSTILE in Page(s._repr_html_()).text


def test_a_raster_of_svg_has_a_bar_where_each_spike_is():
    text = html.raster([0, 9], [0, 3], n_steps=10, n_units=4)
    bars = [tuple(map(float, b)) for b in re.findall(r"M([\d.]+) ([\d.]+)v([\d.]+)", text)]
    (x0, y0, high), (x1, y1, _) = bars
    assert (x0, x1) == (html.WIDTH * 0.05, html.WIDTH * 0.95)
    assert y0 + high / 2 == pytest.approx(html.HEIGHT * 7 / 8, abs=0.1), "unit 0 below"
    assert y1 + high / 2 == pytest.approx(html.HEIGHT * 1 / 8, abs=0.1)


def test_what_was_made_loaded_read_or_imported_is_cited_and_nothing_else():
    code = """
import rc_snn
for name in ("rc-lstm-340-fast", "alpha-psp-340-slow-published", "rel-psp-340-strict-mapped"):
    rc_snn.load(name)
    rc_snn.cite()
    print("---")
import encoders, nir
encoders.embedded_digits()
rc_snn.cite()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    cited = [
        set(re.findall(r"^@\w+\{(\w+),", part, re.MULTILINE)) for part in done.stdout.split("---\n")
    ]
    assert cited[0] == {"jeffares2022", "rc_snn"}
    assert cited[1] - cited[0] == {"comsa2020"}, "ReL-PSP is imported beside it, and not used"
    assert cited[2] - cited[1] == {"zhang2021", "stanojevic2023"}
    assert {"lecun1998", "pedersen2024"} <= cited[3] - cited[2]


FIELD = r"^ +(\w+) *= \{(.*?)\},?$"


def test_every_entry_is_whole_and_every_key_that_is_used_has_one():
    entries = citation.entries()
    for key, text in entries.items():
        assert re.fullmatch(r"@\w+\{" + key + r",\n.*\n\}", text, re.DOTALL)
        assert text.count("{") == text.count("}")
        fields = dict(re.findall(FIELD, text, re.MULTILINE | re.DOTALL))
        assert {"title", "author"} <= set(fields), key
        assert key == "rc_snn" or ("year" in fields and {"doi", "eprint", "url"} & set(fields))
    sources = [p for room in ("baselines", "encoders") for p in Path(room).glob("*.py")]
    said = {key for p in sources for key in re.findall(r'\bused\("(\w+)"\)', p.read_text())}
    assert said
    asked = {"jeffares2022", "rc_snn", *citation.LIBRARIES.values(), *said}
    assert asked == set(entries)


def test_paper_and_software_are_those_of_citation_cff(capsys):
    cff = Path("CITATION.cff").read_text()
    rc_snn.cite()
    paper, software = capsys.readouterr().out.split("\n\n")[:2]
    titles = re.findall(r'^\s*title: "(.*)"$', cff, re.MULTILINE)
    assert f"{{{titles[0]}}}".replace("_", "\\_") in software
    assert f"{{{titles[1]}}}" in paper
    names = re.findall(r"given-names: (\w+)\s+family-names: (\w+)", cff)
    assert " and ".join(f"{family}, {given}" for given, family in names) in paper
    for field in ("url", "year"):
        value = re.search(rf'^  {field}: "?(.*?)"?$', cff, re.MULTILINE)[1]
        assert f"{{{value}}}" in paper
    assert f"version = {{{rc_snn.__version__}}}" in software
