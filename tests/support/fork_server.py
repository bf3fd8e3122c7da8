"""Forks programs off a process that has loaded Mimic: loading modules is most of the processor time of a start.

A forked program does all that ``python -P -W error -m`` does after that, in an environment of its own. The workers
that it spawns are forked too. The forking process has one thread, and ends with the program that started it.
"""

import atexit
import gc
import json
import multiprocessing.resource_tracker
import multiprocessing.spawn
import multiprocessing.util
import os
import re
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Final

from tests.support.fork_shim import LENGTH, exit_code_of

STRICT: Final = ("-P", "-W", "error")
LOADED_LATE: Final = (
    "anyio._backends._asyncio",
    "mimic.cli.seed",
    "mimic.cli.serve",
    "mimic.corpus.stores.mongodb.store",
    "mimic.recordings.relay",
    "mimic.records.fallback",
    "mimic.records.files.mongodb",
    "mimic.records.mongodb.records",
    "mimic.server.workers",
    "mimic_seed.loader",
    "multiprocessing.popen_spawn_posix",
    "netrc",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "uvloop",
)
"""Modules that a program loads only when it needs them."""


class ForkedProcess:
    """A forked program, with the methods of ``subprocess.Popen`` under the same names."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._exit_code(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends; return its exit code. Raises TimeoutExpired."""
        code = self._exit_code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("a forked program", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _exit_code(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            status = os.read(self._status, LENGTH)
            os.close(self._status)
            assert status, "the process that forks has ended"
            self.returncode = exit_code_of(status)
        return self.returncode


class ForkServer:
    """The forking process, as seen by the program that has started it.

    ``environment`` are variables of its start, ``PROGRAM`` the arguments of its interpreter.
    """

    PROGRAM: ClassVar[Sequence[str]] = (*STRICT, __file__)

    def __init__(self, **environment: str) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        command = (sys.executable, *self.PROGRAM)
        with theirs:
            variables = {"PATH": os.environ["PATH"], **environment}
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), env=variables)

    def fork(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        streams: Sequence[int],
        *,
        own_group: bool = False,
    ) -> ForkedProcess:
        """Run a module as ``python -m`` does, in a folder. ``streams`` are the file descriptors of its three streams.

        With ``own_group`` it has a process group of its own.
        """
        ended, status = os.pipe()
        request = json.dumps([module, list(arguments), dict(environment), str(folder), own_group]).encode()
        with self._lock:
            # The file descriptors arrive together with these bytes.
            socket.send_fds(self._control, [len(request).to_bytes(LENGTH, "big")], [*streams, status])
            os.close(status)
            self._control.sendall(request)
            return ForkedProcess(int.from_bytes(_received(self._control, LENGTH), "big"), ended)

    def close(self) -> None:
        """End the forking process. The forked programs run on."""
        self._control.close()
        self._process.wait()


@cache
def fork_server() -> ForkServer:
    """The fork server of this process, started at the first call and ended with this process."""
    server = ForkServer()
    atexit.register(server.close)
    return server


def _received(control: socket.socket, size: int) -> bytes:
    data = control.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise EOFError
    return data


def main() -> None:
    """The forking process and, after a fork, the requested program."""
    _load()
    if program := fork_on_request():
        module, arguments = program
        sys.argv[1:] = arguments
        _fork_spawned()
        run_to_end(partial(runpy.run_module, module, run_name="__main__", alter_sys=True))


def run_to_end(program: Callable[[], object]) -> None:
    """Run a program, and end this process. Taking the interpreter down would copy all memory, which takes 0.05 s."""
    code: object = None
    try:
        program()
    except SystemExit as exc:
        code = exc.code
    if code is not None and not isinstance(code, int):
        raise SystemExit(code)  # Python prints it
    threading._shutdown()  # type: ignore[attr-defined] # as Python does: wait for threads, and call exit functions
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def _load() -> None:
    from mimic.app import create_app  # noqa: PLC0415 - not for the program that starts this one
    from mimic.settings import Settings  # noqa: PLC0415

    for module in LOADED_LATE:
        import_module(module)
    create_app(Settings.from_environment({}))  # loads more, and opens nothing
    _read_signatures()


def _read_signatures() -> None:
    """Let Litestar read the signatures of all handlers: half of the work of a start.

    A handler keeps its signature, and so do the copies of it that an application makes.
    """
    from litestar.exceptions import ImproperlyConfiguredException  # noqa: PLC0415
    from litestar.handlers import HTTPRouteHandler  # noqa: PLC0415

    for handler in gc.get_objects():
        if isinstance(handler, HTTPRouteHandler):
            with suppress(ImproperlyConfiguredException):  # a decorator, or a handler that the application copied
                _ = handler.signature_model


def fork_on_request() -> tuple[str, Sequence[str]] | None:
    """Fork at each request. Returns None at the end; in a forked process, the program to run."""
    gc.collect()
    gc.freeze()  # shared memory is not written to
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program that has started this one ends it
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    with socket.socket(fileno=os.dup(0)) as control, ExitStack() as stack:
        awake, waker = map(stack.enter_context, socket.socketpair())
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        while True:
            ready, _, _ = select.select([control, awake], [], [])
            if awake in ready:
                awake.recv(64)
                _tell_ended(running)
            if control in ready:
                length, descriptors, _, _ = socket.recv_fds(control, LENGTH, 4)
                if not length:
                    return None
                request = json.loads(_received(control, int.from_bytes(length, "big")))
                module, arguments, environment, folder, own_group = request
                *streams, status = descriptors
                if not (pid := os.fork()):
                    signal.set_wakeup_fd(-1)
                    for one in (status, *running.values()):
                        os.close(one)
                    _settle_in(streams, environment, folder)
                    return module, arguments
                if own_group:
                    os.setpgid(pid, pid)  # here, so that the group exists before the process is reported
                running[pid] = status
                for stream in streams:
                    os.close(stream)
                control.sendall(pid.to_bytes(LENGTH, "big"))


def _tell_ended(running: dict[int, int]) -> None:
    """Send the exit statuses of ended programs, each over its own file descriptor."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        descriptor = running.pop(pid)
        os.write(descriptor, os.waitstatus_to_exitcode(status).to_bytes(LENGTH, "big", signed=True))
        os.close(descriptor)


def _settle_in(streams: Sequence[int], environment: Mapping[str, str], folder: str) -> None:
    """Set up a forked process as its parent would have."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for name in ("stdin", "stdout", "stderr"):
        _reopen(name)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # chosen by the environment


def _reopen(name: str) -> None:
    """Replace a standard stream: the old object remembers the kind of file that it was opened with."""
    old = getattr(sys, name)
    number, is_line_buffered = old.fileno(), name == "stderr" or old.isatty()
    new = open(  # noqa: SIM115 - a file descriptor, for the whole life of the process
        number,
        "r" if name == "stdin" else "w",
        buffering=1 if is_line_buffered else -1,
        encoding=old.encoding,
        errors=old.errors,
        closefd=False,
    )
    setattr(sys, name, new)
    setattr(sys, f"__{name}__", new)


def _fork_spawned() -> None:
    """Replace the new interpreters of ``multiprocessing`` with forks: they read the same pickled process."""
    spawn = multiprocessing.util.spawnv_passfds

    def spawn_or_fork(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
        if "--multiprocessing-fork" not in args:
            return spawn(path, args, passfds)
        if not (pid := os.fork()):
            code = 1
            try:
                code = _spawned(args, passfds)
            except BaseException:  # noqa: BLE001 - reported, as a new interpreter does
                traceback.print_exc()
            finally:
                os._exit(code)
        return pid

    multiprocessing.util.spawnv_passfds = spawn_or_fork


def _spawned(arguments: Sequence[Any], kept: Sequence[int]) -> int:
    """Be a spawned process; return its exit code. The arguments are those of ``multiprocessing.spawn.spawn_main``."""
    for number in signal.valid_signals():  # as exec does
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
    given = dict(re.findall(r"(tracker_fd|pipe_handle)=(\d+)", str(arguments[-2])))
    vars(multiprocessing.resource_tracker._resource_tracker)["_fd"] = int(given["tracker_fd"])
    from prometheus_client import values  # noqa: PLC0415 - loaded with Mimic

    # Chosen by the environment while prometheus_client is loaded.
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
    pipe = int(given["pipe_handle"])
    code: int = multiprocessing.spawn._main(pipe, os.dup(pipe))
    return code


if __name__ == "__main__":
    main()
