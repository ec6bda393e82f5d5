"""What becomes of bench/goodput's figures: the table, also of a run that was ended early, and its way into the page."""

import json

import by_loss
import pytest
import summary
from processes import TOP, BenchError

MACHINE = {"cpu": "a CPU", "cores": 2, "system": "a Debian", "kernel": "6.1"}


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setattr(by_loss, "machine", lambda: MACHINE)
    monkeypatch.setattr(by_loss, "commit", lambda: "abc")
    return by_loss.Table(tmp_path / "report/goodput.json", 10, 3)


def fill(table, rounds):
    for number in range(rounds):
        for name in by_loss.ROWS:
            for loss in by_loss.LOSSES:
                table.add(name, loss, 40 + number, False)


def text(table):
    return "\n".join(by_loss.lines(json.loads(table.path.read_text())))


def test_every_system_and_loss_has_its_cell(table):
    fill(table, 3)
    assert text(table).count("| 41.0") == len(by_loss.ROWS) * len(by_loss.LOSSES)
    assert "| ptproxy `none` | 41.0 | 41.0 | 41.0 | 41.0 | 41.0 |\n" in text(table)
    assert "ended early" not in text(table) and "late" not in text(table)
    assert {kind.name for kind in by_loss.kinds()} == set(by_loss.ROWS)


def test_a_run_that_is_ended_early_leaves_a_table(table):
    table.add("nginx-cubic", 0, 47.52, False)
    assert "| nginx, TCP CUBIC | 47.5 | - | - | - | - |\n" in text(table)
    assert "of some figures there are 0 rounds" in text(table)


def test_what_a_late_emulator_has_spoilt_does_not_count(table):
    for mbit_s, late in ((47, False), (20, True), (45, False)):
        table.add("ptproxy-bbr", 1, mbit_s, late)
    table.add("ptproxy-bbr", 5, 12, True)
    assert "| ptproxy `bbr` | - | 46.0 | 12.0 (late) | - | - |\n" in text(table)
    assert "was late in 2 of 4 measurements" in text(table)


def test_the_table_goes_into_the_page(table, tmp_path):
    page = tmp_path / "tuning.md"
    page.write_text(f"before\n{by_loss.BEGIN}\nold\n{by_loss.END}\nafter\n")
    with pytest.raises(BenchError, match="there is no"):
        by_loss.into_tuning(table.path, page)
    fill(table, 3)
    for _ in range(2):
        by_loss.into_tuning(table.path, page)
        assert page.read_text() == f"before\n{by_loss.BEGIN}\n{text(table)}\n{by_loss.END}\nafter\n"


def test_the_page_has_the_marks():
    page = (TOP / "config/tuning.md").read_text()
    assert page.count(by_loss.BEGIN) == page.count(by_loss.END) == 1
    assert by_loss.BEGIN != summary.BEGIN
