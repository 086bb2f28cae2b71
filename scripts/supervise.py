"""Workers of one training on this machine: `python scripts/supervise.py --workers 2 -- mtl train RECIPE --strategy multiworker`.

Starts the command once for each worker, with a TF_CONFIG that tells it the others. When one ends badly, all are ended and started
again, so that they go on from the last checkpoint together; but not after status 2, by which `mtl` says that it cannot do what it
was told. SIGTERM and Ctrl-C are passed on, once: the workers save and end. A second one ends them at once.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Any

__all__ = ["main"]

#: Seconds that workers get to end by themselves before they are killed.
GRACE = 60.0
#: The status of a command that cannot do what it was told, now or later.
MISUSED = 2


def start(command: list[str], workers: int) -> list[subprocess.Popen[bytes]]:
    """The workers, on ports that are free now."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(workers)]
    addresses = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    processes = []
    for index in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        # In a session of its own: Ctrl-C reaches all processes of a terminal, and a worker that gets it twice does not save.
        env = {**os.environ, "TF_CONFIG": json.dumps(config)}
        processes.append(subprocess.Popen(command, env=env, start_new_session=True))
    return processes


def end(processes: list[subprocess.Popen[bytes]], number: int, told: list[int]) -> None:
    """Ends what still runs: by a signal, and after the grace, or when told again, by SIGKILL."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)
    until = time.monotonic() + GRACE
    while any(process.poll() is None for process in processes) and time.monotonic() < until and len(told) < 2:
        time.sleep(0.05)
    for process in processes:
        process.kill()
        process.wait()


def say(text: str) -> None:
    print(f"supervise: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Runs the workers; returns the exit status of the last try."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=2, help="how many processes; 2 by default")
    parser.add_argument("--restarts", type=int, default=3, help="how often they are started again at most; 3 by default")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what each worker runs")
    given = parser.parse_args(arguments)
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if command and shutil.which(command[0]) is None:
        parser.error(f"no such command: {command[0]}")
    if not command or given.workers < 1 or given.restarts < 0:
        parser.error("expected at least one worker, no less than 0 restarts, and a command after --")
    told: list[int] = []

    def tell(number: int, _: Any) -> None:
        told.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # Such as by nohup.
            signal.signal(number, tell)
    for restart in range(given.restarts + 1):
        processes = start(command, given.workers)
        say(f"workers {', '.join(str(process.pid) for process in processes)}")
        while not told and not any(process.poll() for process in processes):
            if all(process.poll() == 0 for process in processes):
                return 0
            time.sleep(0.1)
        if told:
            end(processes, told[0], told)
            return 128 + told[0]
        index, status = next((i, process.returncode) for i, process in enumerate(processes) if process.returncode)
        say(f"worker {index} ended with status {status}; ending the others")
        failed = {process.returncode for process in processes if process.poll()}
        end(processes, signal.SIGKILL, told)
        if failed == {MISUSED}:
            break
        if restart < given.restarts:
            say(f"starting all again, {restart + 1} of at most {given.restarts} times")
    say("giving up")
    return status if status > 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
