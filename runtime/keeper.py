"""Runs one command and ends it, with all its descendants, when whoever started this process is gone.

Started as a script (``python -I -S keeper.py GRACE_S COMMAND …``) with a pipe as stdin: standard library
only, about 10 MB. The starter closes the pipe to stop the command; the kernel closes it when the starter is
killed with -9. PR_SET_PDEATHSIG would need ``preexec_fn`` (unsafe with threads), fires when the *thread* that
started the child ends, and reaches the direct child only, while vLLM has three processes.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time


def main() -> None:
    """Keep the command until it ends or stdin closes, then end the whole process group, this one included."""
    grace_s, command = float(sys.argv[1]), sys.argv[2:]
    starter = os.getppid()
    # A handler, not SIG_IGN: an ignored signal would stay ignored in the command.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while child.poll() is None and _starter_lives(starter):
        pass
    if child.poll() is None:
        os.killpg(0, signal.SIGTERM)
        _wait(child, grace_s)
    sys.stderr.write(f"[agentlora] the server's process ended with exit code {child.poll()}\n")
    sys.stderr.flush()
    os.killpg(0, signal.SIGKILL)


def _starter_lives(starter: int) -> bool:
    # The parent's id is looked at too: a fork of the starter may hold the pipe open after its death.
    readable, _, _ = select.select([0], [], [], 0.2)
    return not (readable and not os.read(0, 1)) and os.getppid() == starter


def _wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    end = time.monotonic() + seconds
    while child.poll() is None and time.monotonic() < end:
        time.sleep(0.05)


if __name__ == "__main__":
    main()
