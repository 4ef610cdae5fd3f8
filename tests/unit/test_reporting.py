from __future__ import annotations

from longform.reporting import ConsoleReporter, Reporter


def test_the_default_reporter_is_silent(capfd):
    reporter = Reporter()
    reporter.say("something")
    with reporter.track("Encoding", 3) as advance:
        advance(1)
        advance(2.5)
    assert capfd.readouterr() == ("", "")


def test_the_console_speaks_on_standard_error_only(capsys):
    ConsoleReporter().say("训练 1,200 documents")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "训练 1,200 documents\n"


def test_a_message_is_printed_as_it_is(capsys):
    message = "[bold]not markup[/] [/wrong] :smile: " + "long " * 80 + "end"
    ConsoleReporter().say(message)
    assert capsys.readouterr().err == message + "\n"


def test_no_progress_bar_where_nobody_watches(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    with ConsoleReporter().track("Encoding", 10, unit="tokens") as advance:
        advance(4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Encoding" not in captured.err


def test_on_a_terminal_a_bar_shows_how_far_the_work_is(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with ConsoleReporter().track("Encoding segments", 10, unit="tokens") as advance:
        advance(10)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Encoding segments" in captured.err
    assert "10/10" in captured.err
