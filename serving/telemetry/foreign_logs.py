"""What libraries and the interpreter report goes the way of our own lines, so that nobody waits for it."""

import logging
import sys
import threading

import structlog

log = structlog.get_logger()


class _Forward(logging.Handler):
    """A handler of `logging` that hands on to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        more = {} if error is None else {"exc_info": error}
        log.log(record.levelno, record.getMessage(), logger=record.name, **more)


def take_in() -> None:
    """From now on, for this process: `logging` from warnings up, warnings, and errors that nobody caught."""
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    threading.excepthook = _in_thread
    sys.unraisablehook = _unraisable


def _in_thread(found: threading.ExceptHookArgs) -> None:
    name = found.thread.name if found.thread is not None else ""
    log.error("a thread ended by an error", thread=name, exc_info=found.exc_value)


def _unraisable(found: "sys.UnraisableHookArgs") -> None:
    log.error("an error where none can be raised", place=repr(found.object), exc_info=found.exc_value)
