from __future__ import annotations

import logging
import threading

import pytest

from llama_bind.core import log


def test_pieces_become_lines_with_their_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="llama_bind")
    log.feed(2, "loading")
    log.feed(5, "...")
    log.feed(5, " done\n")
    log.feed(4, "one\ntwo\n")
    log.feed(1, "detail\n")
    found = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert found == [
        (logging.INFO, "loading... done"),
        (logging.ERROR, "one"),
        (logging.ERROR, "two"),
        (logging.DEBUG, "detail"),
    ]


def test_a_new_line_ends_one_that_was_left_open() -> None:
    with log.capture_log() as lines:
        log.feed(2, "dots ....")
        log.feed(3, "warning\n")
    assert [(line.level, line.text) for line in lines] == [
        (logging.INFO, "dots ...."),
        (logging.WARNING, "warning"),
    ]


def test_per_cent_signs_are_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="llama_bind")
    log.feed(3, "50%s done %d\n")
    assert caplog.messages == ["50%s done %d"]


def test_threads_do_not_mix_their_lines() -> None:
    barrier = threading.Barrier(4)

    def work(name: str) -> None:
        barrier.wait()
        for _ in range(200):
            log.feed(2, name)
            log.feed(5, name)
            log.feed(5, name + "\n")

    with log.capture_log() as lines:
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted({line.text for line in lines}) == ["aaa", "bbb", "ccc", "ddd"]
    assert len(lines) == 800


def test_explain_gives_the_warnings_and_errors_of_this_thread() -> None:
    place = log.mark()
    log.feed(2, "info\n")
    log.feed(4, "mine\n")
    thread = threading.Thread(target=log.feed, args=(4, "another's\n"))
    thread.start()
    thread.join()
    assert log.explain(place) == ("mine",)
    assert log.explain(log.mark()) == ()


def test_silent_by_default(capfd: pytest.CaptureFixture[str]) -> None:
    log.feed(4, "an error nobody asked for\n")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_verbose_shows_on_standard_error_and_stops(capfd: pytest.CaptureFixture[str]) -> None:
    level = log.logger.level
    log.set_verbose(True)
    log.set_verbose(True)
    log.feed(2, "shown\n")
    log.set_verbose(False)
    log.feed(2, "not shown\n")
    assert capfd.readouterr().err == "shown\n"
    assert log.logger.level == level


def test_what_interrupts_the_callback_is_raised_later(monkeypatch: pytest.MonkeyPatch) -> None:
    callback = log.native_callback(lambda function: function)

    def interrupted(_level: int, _text: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(log, "feed", interrupted)
    callback(2, b"text\n", None)
    with pytest.raises(KeyboardInterrupt):
        log.raise_pending()
    log.raise_pending()


def test_an_abort_that_was_asked_for_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "llama_bind")
    log.feed(4, "llama_decode: failed to decode, ret = 2\nllama_decode: failed to decode, ret = -3\n")
    assert [r.levelno for r in caplog.records[-2:]] == [logging.DEBUG, logging.ERROR]
