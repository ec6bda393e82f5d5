"""The page at / in a real browser: what it shows is so, it asks for nothing from elsewhere, and everybody can read it.

What it looked like is in build/test/artefacts.
"""

import re
import threading

import browser
import debian
import peers
import pytest
from harness import wait_for
from peers import TOP

ARTEFACTS = TOP / "build/test/artefacts"
PLOTS = ["rtt", "bytes", "loss", "requests"]

# The least contrast of a text to what is behind it, over all texts of the page, with the text: WCAG wants 4.5.
CONTRAST = """(() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const linear = c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const light = colour => numbers(colour).slice(0, 3).map(c => linear(c / 255))
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = at => { while (numbers(getComputedStyle(at).backgroundColor)[3] === 0) at = at.parentElement;
    return getComputedStyle(at).backgroundColor; };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  for (let text; (text = texts.nextNode());) {
    const at = text.parentElement;
    if (!text.data.trim() || !at.getClientRects().length) continue;
    const [a, b] = [light(getComputedStyle(at).color), light(behind(at))];
    found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), text.data]);
  }
  return [found.length, ...found.sort((x, y) => x[0] - y[0])[0]];
})()"""


@pytest.fixture
def page(tmp_path):
    """A browser, whose page has asked for nothing elsewhere and has thrown nothing when the test is over."""
    if not browser.program():
        debian.not_tested("Chromium is not installed")
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    (tmp_path / "browser").mkdir()
    shown = browser.Browser(tmp_path / "browser")
    try:
        yield shown
        assert shown.faults == []
        assert set(shown.requests) == {shown.origin + "/", shown.origin + "/status"}
    finally:
        shown.close()


def open_page(page, daemon):
    page.origin = f"http://{daemon.configuration['admin']['bind_address']}"
    page.open(page.origin + "/")


@pytest.fixture
def pair(start_pair):
    """With callers, so that there is something to see."""
    admin = {end: {"admin": {"bind_address": f"127.0.0.1:{peers.free_port()}"}} for end in ("client", "server")}
    made = start_pair(both={"transport": {"max_idle_timeout": "1s", "keep_alive_interval": "300ms"}}, **admin)
    over = threading.Event()

    def call():
        while not over.wait(0.02):
            try:
                made.request("GET", "/n/20000")
            except (OSError, EOFError):
                continue
    thread = threading.Thread(target=call)
    thread.start()
    yield made
    over.set()
    thread.join()


def text(page, selector):
    return page.value(f"document.querySelector('{selector}').innerText")


def points(page, figure, line="path.a"):
    """(x, y) of a plot's line; y is 0 at the top and 100 on the axis."""
    drawn = page.value(f"document.querySelector('#{figure} {line}').getAttribute('d')") or ""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](\d+) ([\d.]+)", drawn)]


def shoot(page, name):
    file = ARTEFACTS / f"{name}.png"
    page.screenshot(file)
    assert file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size > 10000


def check_contrast(page):
    count, least, where = page.value(CONTRAST)
    assert count > 30 and least >= 4.5, where


def test_up_down_and_up_again(page, pair):
    open_page(page, pair.client)
    page.wait("document.querySelector('#state').className === 'up'")
    assert text(page, "#state") == "up" and page.value("document.title") == "ptproxy client: up"
    wait_for(lambda: all(len(points(page, figure)) >= 5 for figure in PLOTS), 60, "five points in each plot")
    for figure in "rtt", "bytes", "requests":
        assert min(y for _, y in points(page, figure)) < 99, figure
        assert all(b[0] - a[0] == 1 for a, b in zip(points(page, figure), points(page, figure)[1:]))
    assert all(0 <= y <= 100 for figure in PLOTS for _, y in points(page, figure))
    assert len(points(page, "bytes", "path.b")) >= 5
    assert re.fullmatch(r"[\d.]+ ms", text(page, "#rtt b"))
    assert re.fullmatch(r"[\d.]+ k?B/s in, [\d.]+ k?B/s out", text(page, "#bytes b"))
    assert re.fullmatch(r"[1-9][\d.]* /s, \d+ in flight", text(page, "#requests b"))
    assert not points(page, "rtt", "path.gone")
    assert pair.client.connections()[0][:12] in text(page, "#sessions")
    shoot(page, "page-up")

    pair.server.kill()
    page.wait("document.querySelector('#state').className === 'down'")
    assert text(page, "#state") == "down" and text(page, "#reason").startswith("connecting: ")
    page.wait("document.querySelector('#rtt b').innerText === 'no session'")
    assert points(page, "rtt", "path.gone")
    wait_for(lambda: points(page, "requests", "path.b")[-1][1] < 99, 60, "503 in the plot")
    shoot(page, "page-down")

    pair.start_server()
    page.wait("document.querySelector('#state').className === 'up'")
    assert text(page, "#reason") == ""
    page.wait("document.querySelector('#rtt path.a').getAttribute('d').split('M').length === 3")  # with a gap


def test_the_daemon_has_ended(page, pair):
    open_page(page, pair.client)
    page.wait("document.querySelector('#state').className === 'up'")
    pair.client.stop()
    page.wait("document.querySelector('#state').innerText === 'no answer'")
    assert page.value("document.querySelector('#state').className") == "down"
    page.faults.clear()  # the browser says that it was refused


def test_of_a_server(page, pair):
    open_page(page, pair.server)
    page.wait("document.querySelector('#state').className === 'up'")
    assert page.value("document.title") == "ptproxy server: up"
    assert re.search(r"\b127\.0\.0\.1:\d+", text(page, "#sessions"))
    assert "to the origin: " in text(page, "#facts")


def test_for_everybody(page, pair):
    """Light and dark, narrow, and to those who hear it."""
    open_page(page, pair.client)
    wait_for(lambda: points(page, "requests"), 60, "a point")
    check_contrast(page)
    page.appearance("dark")
    check_contrast(page)
    shoot(page, "page-dark")
    for figure in PLOTS:
        assert page.value(f"document.querySelector('#{figure} svg[role=img]').getAttribute('aria-label')")
    assert page.value("document.querySelector('#state').getAttribute('role')") == "status"
    page.tell("Emulation.setDeviceMetricsOverride", width=360, height=900, deviceScaleFactor=1, mobile=False)
    assert page.value("document.documentElement.scrollWidth") <= 360
    shoot(page, "page-narrow")


def test_nothing_of_it_is_elsewhere(page, pair):
    open_page(page, pair.client)
    page.wait("document.querySelector('#state').className === 'up'")
    assert not re.search("https?:", page.value("document.documentElement.outerHTML"))
