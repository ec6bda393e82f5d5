"""The alert rules and the dashboard: what they ask for is what the daemon says, and a Prometheus that runs on both ends
of a pair makes of it what is meant."""

import json
import math
import re
import subprocess
import time
import urllib.parse
import urllib.request

import debian
import http1
import peers
import pytest
from harness import wait_for
from peers import TOP

MONITORING = TOP / "tools/monitoring"
RULES, RULE_TESTS = MONITORING / "ptproxy.rules.yml", MONITORING / "ptproxy.rules.test.yml"
DASHBOARD = MONITORING / "grafana-dashboard.json"
PROMETHEUS = TOP / "build/promtool"
COLUMNS = 24  # of Grafana's grid


@pytest.fixture(scope="module", autouse=True)
def programs():
    made = subprocess.run([TOP / "tools/promtool"], stderr=subprocess.PIPE, text=True)
    if made.returncode != 0:
        debian.not_tested(f"Prometheus is not to be had: {made.stderr}")


def promtool(*arguments):
    done = subprocess.run([PROMETHEUS / "promtool", *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dashboard():
    return json.loads(DASHBOARD.read_text())


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expression(text):
    """A panel's expression as Grafana would send it."""
    return text.replace("$__rate_interval", "1m").replace("$instance", ".*")


def expressions():
    """Of the panels, and of what marks the time at which the daemon was started."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [expression(text) for text in [*found, *(each["expr"] for each in dashboard()["annotations"]["list"])]]


@pytest.fixture(scope="module")
def pair(start_shared_pair):
    """Both ends have an admin endpoint, and requests were sent."""
    made = start_shared_pair(**{end: {"admin": {"bind_address": f"127.0.0.1:{peers.free_port()}"}}
                                for end in ("client", "server")})
    for _ in range(20):
        assert made.request("GET", "/n/1000").status == 200
    return made


def admin(daemon):
    return daemon.configuration["admin"]["bind_address"]


@pytest.fixture(scope="module")
def said(pair):
    """What both ends say: family -> all (label, value) that it has."""
    found = {}
    for daemon in pair.client, pair.server:
        host, port = admin(daemon).split(":")
        text = http1.request((host, int(port)), "GET", "/metrics").body.decode()
        for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
            found.setdefault(name, set()).update(re.findall(r'(\w+)="([^"]*)"', labels))
    return found


@pytest.mark.parametrize("file", [RULES, RULE_TESTS, DASHBOARD], ids=lambda file: file.name)
def test_every_metric_is_said_by_the_daemon(said, file):
    text = file.read_text().replace('\\"', '"')
    asked = set(re.findall(r"\b(ptproxy_\w+)\b(?!\.)(?:\{([^}]*)\})?", text))
    assert len({name for name, _ in asked}) > 10
    assert {name for name, _ in asked} - set(said) == set()
    for name, matchers in asked:
        labels = {label for label, _ in said[name]}
        for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', matchers):
            if label in ("instance", "job"):
                continue
            assert label in labels, f"{name} has no label {label}"
            assert operator == "=~" or (label, value) in said[name] or label in ("pool", "thread"), f"{name}: {value}"


def test_rules():
    assert "SUCCESS" in promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS)


def test_each_alert_is_tested_and_explained():
    alerts = re.findall(r"^ +- alert: (\w+)$", RULES.read_text(), re.MULTILINE)
    assert len(alerts) == len(set(alerts)) > 10
    for alert in alerts:
        assert re.search(rf'alertname(="|: ){alert}\b', RULE_TESTS.read_text()), f"no rule test raises {alert}"
    for each in RULES.read_text().split("- alert: ")[1:]:
        assert re.search(r"severity: (critical|warning)\b", each), each
        assert "*certificate" in each or ("summary: " in each and "description: " in each), each


def test_dashboard_is_well_formed(tmp_path):
    told = dashboard()
    ids = [panel["id"] for panel in told["panels"]]
    assert len(ids) == len(set(ids)) and told["uid"] and told["title"] == "ptproxy"
    taken = set()
    for panel in told["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= COLUMNS
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    variables = {variable["name"] for variable in told["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]\w*)", DASHBOARD.read_text())) == variables
    for panel in panels():
        assert panel["targets"] and panel["title"] and panel["datasource"]["uid"] == "${datasource}"
    # PromQL, each of them: as rules, for promtool to look at
    rules = [{"record": f"panel:{i}", "expr": text} for i, text in enumerate(expressions())]
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", tmp_path / "rules.json")


class Prometheus(peers.Server):
    """One that looks at both ends of the pair every second, with the alert rules."""

    def __init__(self, directory, pair):
        port = peers.free_port()
        self.address = f"http://127.0.0.1:{port}"
        configuration = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [str(RULES)],
                         "scrape_configs": [{"job_name": "ptproxy", "static_configs": [
                             {"targets": [admin(pair.client), admin(pair.server)]}]}]}
        (directory / "prometheus.yml").write_text(json.dumps(configuration))
        super().__init__([PROMETHEUS / "prometheus", f"--config.file={directory}/prometheus.yml",
                          f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{port}"],
                         directory, port)

    def ready(self):
        try:
            return self.get("/-/ready") is not None
        except OSError:
            return False

    def wait_ready(self, timeout=60):
        super().wait_ready(timeout)

    def get(self, path, **query):
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{self.address}{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
            return answer.read()

    def ask(self, query):
        told = json.loads(self.get("/api/v1/query", query=query))
        assert told["status"] == "success", told
        return told["data"]["result"]

    def alerts(self):
        told = json.loads(self.get("/api/v1/alerts"))["data"]["alerts"]
        return {(alert["labels"]["alertname"], alert["labels"]["instance"]) for alert in told}


@pytest.fixture
def prometheus(pair, tmp_path):
    made = Prometheus(tmp_path, pair)
    yield made
    made.stop()


def check_expressions(prometheus):
    """Each has a number to show, but those that show what is not in order: they have one without their condition."""
    for text in expressions():
        found = prometheus.ask(text.removesuffix(" > 0"))
        assert found, text
        numbers = [float(one["value"][1]) for one in found]
        assert any(math.isfinite(number) for number in numbers), f"{text}: {numbers}"


def check_legends(prometheus):
    """The labels that they name are there, and no two lines of a panel are called the same."""
    for panel in panels():
        names = []
        for target in panel["targets"]:
            for one in prometheus.ask(expression(target["expr"]).removesuffix(" > 0")):
                used = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
                assert set(used) <= set(one["metric"]), f"{panel['title']}: {target['legendFormat']}, {one['metric']}"
                names.append(re.sub(r"\{\{(\w+)\}\}", lambda label, one=one: one["metric"][label[1]],
                                    target["legendFormat"]))
        assert len(set(names)) == len(names), f"{panel['title']}: {sorted(names)}"


def test_a_prometheus_that_runs(prometheus, pair):
    client, server = admin(pair.client), admin(pair.server)
    wait_for(lambda: len(prometheus.ask("ptproxy_http_requests_in_flight offset 3s")) == 2, 60, "some seconds of it")
    for _ in range(5):
        assert pair.request("GET", "/status/500").status == 500
    wait_for(lambda: float(prometheus.ask('sum(increase(ptproxy_http_requests_total{code_class="5xx"}[1m]))')[0]
                           ["value"][1]) > 0, 60, "the answers")
    check_expressions(prometheus)
    check_legends(prometheus)
    variable = re.fullmatch(r"label_values\((\w+), (\w+)\)", dashboard()["templating"]["list"][1]["query"]["query"])
    values = json.loads(prometheus.get(f"/api/v1/label/{variable[2]}/values", **{"match[]": variable[1]}))["data"]
    assert set(values) == {client, server}
    # The certificates of the tests end in two days; and half a minute ago there was no session yet.
    certificates = {("PtproxyCertificateEnds", client), ("PtproxyCertificateEnds", server)}
    assert prometheus.alerts() - certificates <= {("PtproxyErrors", client), ("PtproxyErrors", server)}
    pair.server.kill()
    wait_for(lambda: {("PtproxyLinkDown", client), ("PtproxyUnreachable", server)} <= prometheus.alerts(), 60,
             "the alerts")
