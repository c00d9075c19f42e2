"""The built-in page in a real browser: what it shows, what it sends, and what it does not let in."""

import json
import os
import shutil
import tempfile
import threading

import numpy as np
import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

import models
import server as servers
import wire
from test_infer import PLAIN

pytestmark = pytest.mark.browser

SECONDS = 30
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,1600"
)
# A directory may be called so, and then a model is.
HOSTILE = "<img src=x onerror=document.title=1>&amp;'%2F?#"


def program(name: str) -> str:
    """A browser's program. CI has one: without it, what is checked here would go unchecked."""
    path = shutil.which(name)
    if path is None:
        missing = pytest.fail if os.environ.get("NEXTEST_PROFILE") == "ci" else pytest.skip
        missing(f"{name} is not installed (scripts/setup --test)")
    return path


@pytest.fixture(scope="module")
def chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # A password that was typed makes the browser ask its user, and its maker, what they think of it.
    quiet = ("credentials_enable_service", "profile.password_manager_enabled", "profile.password_manager_leak_detection")
    options.add_experimental_option("prefs", dict.fromkeys(quiet, False))
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS.split(), f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
        yield driver
        driver.quit()


class Page:
    """The page of a server, as its user sees it."""

    def __init__(self, driver, address):
        self.driver = driver
        driver.get(f"http://{address}/")

    def part(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def parts(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def wait(self, condition, what="that"):
        """Waits until a condition holds; what is drawn anew meanwhile is looked at again."""
        waiting = WebDriverWait(self.driver, SECONDS, 0.1, [StaleElementReferenceException])
        return waiting.until(lambda _: condition(), f"{what} did not come\n{self.part('body').text[:3000]}")

    def wait_text(self, css, text):
        self.wait(lambda: text in self.part(css).text, f"'{text}' in {css}")

    def row(self, name, version="1"):
        """The texts of a model's row, by column; `None`: there is no such row."""
        return self.driver.execute_script(
            """
            const rows = [...document.querySelectorAll("#models tbody tr")];
            const row = rows.find((r) => r.dataset.model === arguments[0] && r.dataset.version === arguments[1]);
            return row ? [...row.cells].map((cell) => cell.innerText) : null;
            """,
            name,
            version,
        )

    def choose(self, model, version=None):
        models_of_form = 'return [...document.querySelectorAll("#test-model option")].map((o) => o.value)'
        self.wait(lambda: model in self.driver.execute_script(models_of_form), model)
        Select(self.part("#test-model")).select_by_value(model)
        if version is not None:
            Select(self.part("#test-version")).select_by_value(version)
        self.wait(lambda: self.part("#test-send").is_enabled(), f"inputs of {model}")

    def enter(self, text, at=0):
        area = self.part(f"#input-{at}")
        area.clear()
        area.send_keys(text)

    def values(self, at=0):
        return json.loads(self.part(f"#input-{at}").get_property("value"))

    def press(self, text, at=0):
        self.parts("#test-inputs fieldset")[at].find_element(By.XPATH, f".//button[.='{text}']").click()

    def send(self):
        """Sends the form; the outputs' values as text by name."""
        self.part("#test-send").click()
        self.wait(lambda: self.parts("#test-outputs figure") or self.part("#test-error").text, "an answer")
        assert not self.part("#test-error").text
        return {
            figure.get_attribute("data-output"): figure.find_element(By.TAG_NAME, "pre").text
            for figure in self.parts("#test-outputs figure")
        }

    def refusal(self):
        """Sends the form; what is said against it."""
        self.part("#test-send").click()
        self.wait(lambda: self.part("#test-error").text, "a refusal")
        assert not self.parts("#test-outputs figure")
        return self.part("#test-error").text

    def number(self, tile):
        return float(self.part(f"#{tile}").get_attribute("data-value") or 0)


@pytest.fixture(scope="module", autouse=True)
def ours(kind):
    if kind != "hypersonic":
        pytest.skip("the page is Hypersonic's")


@pytest.fixture
def open_page(chromium):
    """Opens pages, each in a tab of its own; none may break its own rules or leave an error unhandled."""
    home = chromium.current_window_handle

    def begin(address):
        chromium.switch_to.new_window("tab")
        return Page(chromium, address)

    yield begin
    logged = [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    # Answers that are no success are what some tests are about.
    wrong = [m for m in logged if "Failed to load resource" not in m and "net::ERR" not in m]
    for handle in chromium.window_handles:
        if handle != home:
            chromium.switch_to.window(handle)
            chromium.close()
    chromium.switch_to.window(home)
    assert wrong == []


@pytest.fixture
def page(server, open_page):
    return open_page(server.http)


def test_server_and_readiness(server, page):
    about = wire.get(server.http, "/v2").json
    page.wait_text("#readiness", "ready")
    assert page.part("#readiness").get_attribute("class") == "badge good"
    page.wait_text("#server-version", about["version"])
    assert page.part("#server-name").text == about["name"] == page.driver.title
    assert wire.get(server.http, "/v2/openapi.json").status == 200
    assert page.part("nav a").get_attribute("href") == f"http://{server.http}/v2/openapi.json"


def test_models_are_listed(server, page):
    index = wire.post(server.http, "/v2/repository/index", {}).json
    page.wait(lambda: len(page.parts("#models tbody tr")) == len(index), "all models")
    name, version, state, backends, *_ = page.row("plain")
    assert (name, version, state) == ("plain", "1", "READY")
    page.wait(lambda: "identity on cpu" in page.row("plain")[3], "its backend")
    assert "not exact" in page.row("plain")[3]
    assert [v for v in "123" if page.row("chosen", v)] == ["1", "3"]
    page.wait_text("#backends", "emulator")
    told = {b["name"]: b for b in wire.get(server.http, "/v2/hypersonic/backends").json["backends"]}
    for row in page.parts("#backends tr"):
        backend = told.pop(row.find_element(By.TAG_NAME, "th").text)
        assert ("not available" in row.text) != backend["available"]
        assert " ".join(backend["detail"].split()) in row.text
    assert told == {}


def test_a_test_inference(page):
    page.choose("plain")
    page.enter(json.dumps([0.5, -1.25, *range(14)]))
    assert page.send() == {"OUT": "0.5  -1.25  " + "  ".join(map(str, range(14)))}
    summary = page.part("#test-summary").text
    assert page.part("#test-backend").text == "identity"
    assert "version 1" in summary and "not exact" in summary
    milliseconds, unit = page.part("#test-time").text.split()
    assert float(milliseconds) > 0 and unit == "ms"


def test_several_inputs_and_versions(page):
    page.choose("pair")
    page.press("Zeros", 0)
    page.press("Random", 1)
    first, second = page.values(0), page.values(1)
    assert first == [0] * 16
    assert len(second) == 16 and any(second)
    assert page.send() == {"C": "  ".join(map(str, first)), "D": "  ".join(map(str, second))}
    page.choose("chosen", "1")
    page.press("Random")
    page.send()
    assert "version 1" in page.part("#test-summary").text
    page.choose("chosen", "")
    page.send()
    assert "version 3" in page.part("#test-summary").text


@pytest.mark.parametrize(
    "datatype,values,shown",
    [
        ("INT8", "[-128, 127, 0]", "-128  127  0"),
        ("UINT16", "[65535, 0, 1]", "65535  0  1"),
        ("INT64", "[9007199254740993, -9223372036854775808, 5]", "9007199254740993  -9223372036854775808  5"),
        ("UINT64", "[18446744073709551615, 0, 1]", "18446744073709551615  0  1"),
        ("FP32", "[0.1, 16777216, 3.4e38]", "0.1  16777216  3.4e+38"),
        ("FP64", "[0.1, 1e300, -0.5]", "0.1  1e+300  -0.5"),
        ("FP16", "[0.1, 65504, 6e-8]", "0.0999755859375  65504  5.960464477539063e-8"),
        ("BF16", "[1, -2.5, 3.14159]", "1  -2.5  3.140625"),
        ("BOOL", "[true, false, true]", "true  false  true"),
        ("BYTES", '["a", "", "<b>\\u00e9</b>"]', '"a"  ""  "<b>é</b>"'),
    ],
)
def test_datatypes_and_free_axes(page, datatype, values, shown):
    page.choose(f"typed_{datatype.lower()}")
    for axis, size in enumerate((1, 3)):
        box = page.parts("#test-inputs input")[axis]
        box.clear()
        box.send_keys(str(size))
    page.press("Random")
    assert len(page.values()) == 3
    page.send()
    page.enter(values)
    assert page.send() == {"OUT": shown}


def test_large_inputs_are_made_when_they_are_sent(page):
    page.choose("large")
    box = page.part("#test-inputs input")
    box.clear()
    box.send_keys("1000")
    page.press("Zeros")
    assert not page.part("#input-0").is_enabled()
    shown = page.send()["OUT"]
    assert shown.startswith("0  0  ") and shown.endswith("… 45000 more")


def test_errors_are_shown_as_they_come(server, page):
    page.choose("plain")
    page.enter("[1, 2, 3]")
    body = {"inputs": [{"name": "IN", "shape": [1, 16], "datatype": "FP32", "data": [1, 2, 3]}]}
    assert page.refusal() == "400: " + wire.post(server.http, PLAIN.path, body).error
    page.enter("[1, 2,")
    assert page.refusal().startswith("input 'IN': ")
    page.part("#input-0").clear()
    assert "expected 1 inputs but got 0" in page.refusal()
    # And it goes on.
    page.press("Zeros")
    assert page.send() == {"OUT": "  ".join("0" * 16)}


def test_throughput_and_latency_move_with_the_load(server, page):
    page.wait(lambda: page.part("#requests").text == "0", "the first rates")
    stop = threading.Event()

    def load():
        rpc = wire.Grpc(server.grpc)
        two = PLAIN.but(inputs=[wire.Tensor("IN", "FP32", [2, 16], np.zeros((2, 16), np.float32))])
        while not stop.wait(0.005):
            rpc.infer(two)
        rpc.close()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        page.wait(lambda: page.number("requests") > 1 and page.number("latency") > 0, "a load")
        assert page.number("inferences") == pytest.approx(2 * page.number("requests"))
        page.wait(lambda: page.row("plain")[4] not in ("–", "0") and page.row("plain")[5] != "–", "the model's rates")
        assert page.row("pair")[4] == "0"
        assert "queue" in page.part("#tiles").text and "compute" in page.part("#tiles").text
        assert page.part("#requests + svg .line").get_attribute("d").startswith("M")
    finally:
        stop.set()
        thread.join()
    page.wait(lambda: page.part("#requests").text == "0" and page.part("#latency").text == "–", "silence")


def test_names_are_text(start, tmp_path, open_page):
    repository = tmp_path / "repository"
    models.Model(HOSTILE, inputs=("<i>in</i>",), outputs=("<script>out</script>",)).write(repository, "hypersonic")
    models.Model("<b>broken", backend="<u>none</u>").write(repository, "hypersonic")
    flags = ["--exit-on-error", "false", "--id", "<em>server</em>"]
    page = open_page(start(flags=flags, repository=repository).http)
    page.wait(lambda: page.row(HOSTILE), "the model")
    assert page.row(HOSTILE)[0] == HOSTILE
    assert "<u>none</u>" in page.row("<b>broken")[2] and "UNAVAILABLE" in page.row("<b>broken")[2]
    page.wait_text("#server-name", "<em>server</em>")
    page.choose(HOSTILE)
    page.press("Zeros")
    assert page.send() == {"<script>out</script>": "  ".join("0" * 16)}
    for tag in ("img", "b", "u", "i", "em", "body script"):
        assert page.parts(tag) == [], tag
    assert page.driver.title == "<em>server</em>"


def test_a_model_that_is_loaded_and_unloaded(server, page):
    page.wait(lambda: page.row("steady") and page.row("steady")[2] == "READY")
    wire.post(server.http, "/v2/repository/models/steady/unload")
    try:
        page.wait(lambda: "unloaded" in page.row("steady")[2], "the new state")
        options = page.part("#test-model").text.split()
        assert "plain" in options and "steady" not in options
    finally:
        wire.post(server.http, "/v2/repository/models/steady/load")
    page.wait(lambda: page.row("steady")[2] == "READY")


def test_a_token_is_asked_for(start, tmp_path, open_page):
    tokens = tmp_path / "tokens"
    tokens.write_text("first-token\n")
    running = start(flags=[*servers.EXPLICIT, "--auth-tokens", str(tokens)])
    page = open_page(running.http)
    page.wait(lambda: page.part("#access").is_displayed(), "the question")
    assert page.parts("#models tbody tr") == []

    def give(token):
        page.part("#token").send_keys(token)
        page.part("#access button").click()

    give("wrong")
    page.wait_text("#trouble", "is not one of this server's")
    assert page.part("#access").is_displayed() and page.parts("#models tbody tr") == []
    give("first-token")
    page.wait(lambda: page.row("plain"), "the models")
    assert not page.part("#access").is_displayed() and not page.part("#trouble").is_displayed()
    page.choose("plain")
    page.send()
    # This tab keeps it, others do not have it.
    page.driver.refresh()
    page.wait(lambda: page.row("plain"), "the models")
    other = open_page(running.http)
    other.wait(lambda: other.part("#access").is_displayed(), "the question")
    give("first-token")
    other.wait(lambda: other.row("plain"), "the models")
    other.part("#forget").click()
    other.wait(lambda: other.part("#access").is_displayed(), "the question")


def test_what_is_restricted_is_said_and_the_rest_is_shown(start, open_page):
    flags = [*servers.EXPLICIT, "--http-restricted-api", "model-repository,inference:key=value"]
    page = open_page(start(flags=flags).http)
    page.wait_text("#models-trouble", "403: This API is restricted, expecting header 'key'")
    # The models that answer are known nevertheless.
    assert page.row("plain")[2] == "READY"
    page.choose("plain")
    assert page.refusal() == "403: This API is restricted, expecting header 'key'"
    page.wait(lambda: page.part("#requests").text == "0", "rates")


def test_too_many_requests_are_waited_for(start, open_page):
    running = start(flags=[*servers.EXPLICIT, "--requests-per-second", "30"])
    page = open_page(running.http)
    page.wait(lambda: page.row("plain"), "the models")
    stop = threading.Event()

    def crowd():
        while not stop.is_set():
            wire.get(running.http, "/v2")

    thread = threading.Thread(target=crowd)
    thread.start()
    try:
        page.wait_text("#trouble", "429: too many requests a second")
    finally:
        stop.set()
        thread.join()
    page.wait(lambda: not page.part("#trouble").is_displayed(), "the end of it")


def test_a_server_that_goes(start, open_page):
    running = start()
    page = open_page(running.http)
    page.wait_text("#readiness", "ready")
    running.stop()
    page.wait_text("#readiness", "no answer")
    assert "no answer from the server" in page.part("#trouble").text


def test_everything_has_a_name(page):
    """For those who cannot see the page, and in each colour scheme."""
    page.choose("typed_fp32")
    page.send()
    for css in ("input", "select", "textarea", "button", "a", "section"):
        for part in page.parts(css):
            if part.is_displayed():
                assert part.accessible_name, part.get_attribute("outerHTML")[:200]
    backs = set()
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        backs.add(page.part("body").value_of_css_property("background-color"))
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(backs) == 2


def test_narrow_screens(page):
    page.choose("plain")
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    wide = page.driver.execute_script("return document.documentElement.scrollWidth")
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= 380
