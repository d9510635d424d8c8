"""Processes that train together, and Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mrrecon.interrupts import deaf_to_interrupts

KILLS_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"


def child() -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", KILLS_ITSELF], capture_output=True, text=True, timeout=60)


def test_a_process_started_deaf_lives_through_ctrl_c():
    with deaf_to_interrupts():
        deaf = child()
    assert deaf.stdout.strip() == "alive" and not deaf.stderr
    assert "KeyboardInterrupt" in child().stderr


def test_ctrl_c_that_comes_meanwhile_is_only_late():
    done = threading.Event()
    other = threading.Thread(target=done.wait)  # which gets the signal, as it hears all
    other.start()
    reached = False
    try:
        with pytest.raises(KeyboardInterrupt), deaf_to_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            reached = True
    finally:
        done.set()
        other.join()
    assert reached and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_ctrl_c_is_made_up():
    with deaf_to_interrupts():
        pass
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
