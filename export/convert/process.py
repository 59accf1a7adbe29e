"""The process that runs the converters; it is kept for the next conversion."""

import atexit
import contextlib
import json
import os
import subprocess
import tempfile
import threading

from export.child import command, environment, how_it_ended

_WORKER = "export.convert.worker"


class WorkerDied(RuntimeError):  # noqa: N818
    """The process ended before it answered; the message says how."""


class Worker:
    """A process of `export.convert.worker`; started when it is first needed.

    A conversion that crashes ends this process instead of the user's. One process is used for all
    conversions, because importing TensorFlow takes most of the time.
    """

    def __init__(self):
        self._process = self._log = self._owner = None
        self._lock = threading.Lock()
        atexit.register(self.stop)

    def start(self):
        """Starts the process if there is none; it imports TensorFlow while the caller continues."""
        with self._lock:
            self._start()

    def ask(self, **request):
        """The answer to a request as a dict, or a `WorkerDied`."""
        with self._lock:
            try:
                return self._ask(json.dumps(request) + "\n")
            except BaseException:
                self._stop()  # its work is not needed now
                raise

    def stop(self):
        """Ends the process."""
        with self._lock:
            self._stop()

    def _ask(self, question):
        self._start()
        said_before = os.fstat(self._log.fileno()).st_size
        with contextlib.suppress(BrokenPipeError):  # the missing answer is noticed below
            self._process.stdin.write(question)
        line = self._process.stdout.readline()
        if line.endswith("\n"):
            return json.loads(line)
        code = self._process.wait()
        if code == 0:  # it has just ended, after its minute
            return self._ask(question)
        self._log.seek(said_before)
        raise WorkerDied(how_it_ended(code, self._log.read()))

    def _start(self):
        if self._owner == os.getpid() and self._process.poll() is None:
            return
        self._stop()
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            command(_WORKER),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            # Calibration runs on the CPU, and the caller may need the GPU's memory.
            env=environment(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3"),
            start_new_session=True,  # this process ends it after Ctrl-C
        )
        self._owner = os.getpid()

    def _stop(self):
        if self._owner == os.getpid():  # a fork must not end it
            self._process.kill()
            self._process.communicate()
            self._log.close()
        self._process = self._log = self._owner = None


WORKER = Worker()
