"""A process that is waited for ends before the wait is given up."""

import subprocess
import sys

import pytest

from stageinteractor.signals import wait_or_stop

SAVES = """
import signal, sys, time
def save(*_):
    time.sleep(0.5)
    open(sys.argv[1], "w").close()
    sys.exit(143)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, save)
print("ready", flush=True)
time.sleep(60)
"""


class Interrupted(subprocess.Popen):
    """The first wait raises."""

    reason: BaseException | None = None

    def wait(self, timeout=None):
        reason, self.reason = self.reason, None
        if reason is not None:
            raise reason
        return super().wait(timeout)


@pytest.mark.parametrize("reason", [SystemExit(143), KeyboardInterrupt()])
def test_interrupted_wait_lets_the_process_save(tmp_path, reason):
    command = [sys.executable, "-S", "-c", SAVES, str(tmp_path / "saved")]
    with Interrupted(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.reason = reason
        with pytest.raises(type(reason)):
            wait_or_stop(process)
    assert process.returncode == 143
    assert (tmp_path / "saved").exists()


def test_exit_code_is_returned():
    assert wait_or_stop(subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(3)"])) == 3
