"""Servers under test: how to start one, where it listens, and what is expected of it."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass

import differences
import models

SERVICES = {"grpc": "GRPCInferenceService", "http": "HTTPService", "metrics": "Metrics Service"}
START_SECONDS = 60
STOP_SECONDS = 30


@dataclass
class Server:
    """A running server. Addresses are HOST:PORT; `repository` is the folder that it serves."""

    kind: str
    http: str
    grpc: str
    metrics: str
    repository: pathlib.Path
    process: subprocess.Popen | None = None
    log: pathlib.Path | None = None

    def expect(self, case: str, ours):
        """What this server does in `case`: `ours`, unless it is Triton and `differences` says otherwise."""
        if self.kind != "triton":
            return ours
        key = differences.find(case)
        if key is None:
            return ours
        differences.USED.add(key)
        return differences.TABLE[key].triton

    def stop(self, seconds: float = STOP_SECONDS) -> float:
        """Sends SIGTERM and waits; returns the seconds until exit. Kills after `seconds` and fails."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no exit within {seconds} s of SIGTERM\n{self.tail()}") from None
        return time.monotonic() - started

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log else ""


EXPLICIT = ["--model-control-mode", "explicit", "--load-model", "*"]


def start(kind, program, repository, folder, flags=EXPLICIT, allow_shared_memory=True, wait=SERVICES) -> Server:
    """Starts `program` on `repository`; returns when each service of `wait` has told its address.

    `folder` takes the log. Raises AssertionError with the end of the log when the server does not come up.
    """
    command = [str(program)]
    if kind == "hypersonic":
        command.append("serve")
        if allow_shared_memory:
            command += ["--allow-client-shm", "true"]
    for service in SERVICES:
        # Triton does not tell which port it got for 0.
        port = free_port() if kind == "triton" else 0
        command += [f"--{service}-port", str(port), f"--{service}-address", "127.0.0.1"]
    command += ["--model-repository", str(repository), *flags]
    log = pathlib.Path(folder) / f"{kind}-{time.monotonic_ns()}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    server = Server(kind, "", "", "", pathlib.Path(repository), process, log)
    deadline = time.monotonic() + START_SECONDS
    while True:
        text = log.read_text(errors="replace")
        for service in wait:
            if found := re.search(rf"Started {SERVICES[service]} at ([^\s\"]+:\d+)", text):
                setattr(server, service, found[1].replace("0.0.0.0", "127.0.0.1"))
        if all(getattr(server, service) for service in wait):
            return server
        if process.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise AssertionError(f"{' '.join(command)} did not come up\n{server.tail()}")
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def program_of(kind: str) -> str | None:
    """The server's program as the environment names it."""
    variable = {"hypersonic": "HYPERSONIC_BINARY", "triton": "HYPERSONIC_TRITON"}[kind]
    return os.environ.get(variable)


def repository(folder: pathlib.Path, kind: str) -> pathlib.Path:
    place = pathlib.Path(folder) / "repository"
    models.write_repository(place, kind)
    return place
