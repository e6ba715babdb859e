"""Stopping on a signal."""

import _thread
import signal
import threading


def stop_on_signals(stop: threading.Event) -> None:
    """Set the event on SIGTERM and SIGINT, however many arrive at once; to be called in the main thread.

    A handler runs in the middle of whatever the main thread does. Setting the event there deadlocks when that is
    waiting for the event, or setting it for an earlier signal: the lock inside is not re-entrant.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _set_elsewhere(stop))


def _set_elsewhere(stop: threading.Event) -> None:
    _thread.start_new_thread(stop.set, ())
