"""Processes that train together, and Ctrl-C."""

import os
import signal
import subprocess
import sys

import pytest

from mrrecon.training.processes import deaf_to_interrupts

KILLS_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"


def child() -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", KILLS_ITSELF], capture_output=True, text=True, timeout=60)


def test_a_process_started_deaf_lives_through_ctrl_c():
    with deaf_to_interrupts():
        deaf = child()
    assert deaf.stdout.strip() == "alive" and not deaf.stderr
    assert "KeyboardInterrupt" in child().stderr


def test_ctrl_c_that_comes_meanwhile_is_only_late():
    reached = False
    with pytest.raises(KeyboardInterrupt), deaf_to_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        reached = True
    assert reached
