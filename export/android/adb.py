"""Running the `adb` program, with errors that say what to do."""

import re
import shutil
import subprocess

from export.errors import ExportError

SECONDS = 120  # enough for every command except a benchmark
_STATUS = re.compile(r"\n?keras_sparse_status=(\d+)\s*\Z")


class AndroidError(ExportError):
    """The phone, the connection to it, or a program on it failed."""


class ConnectionLostError(AndroidError):
    """The phone no longer answers."""


class Adb:
    """One phone, or with `serial=None` the adb server itself.

    Args:
        serial: as `adb devices` names it, or None.
    """

    def __init__(self, serial=None):
        self.serial = serial
        if shutil.which("adb") is None:
            raise AndroidError(
                "There is no `adb` on the PATH. It is part of Android's platform tools: "
                "https://developer.android.com/tools/releases/platform-tools, or "
                "`apt-get install adb`."
            )

    def run(self, *arguments, timeout=SECONDS):
        """Runs `adb` and returns its output, including stderr.

        Raises:
            AndroidError: an exit status other than 0, or no answer within `timeout` seconds.
        """
        done = self._run(arguments, timeout)
        if done.returncode:
            raise self._error(arguments[0], done.stdout)
        return done.stdout

    def shell(self, command, timeout=SECONDS):
        """Runs a command line on the phone.

        The exit status is printed after the output and read from there, because phones before
        Android 7 do not return it. If it is missing, the output is incomplete.

        Returns:
            The exit status and the output, with stderr.

        Raises:
            ConnectionLostError: the phone is disconnected, or the end of the output is missing.
        """
        # `$?` must be the status of the command, not of the `echo` before the marker.
        marked = f"{{ {command}; }} 2>&1; status=$?; echo; echo keras_sparse_status=$status"
        done = self._run(("shell", marked), timeout)
        text = done.stdout.replace("\r\n", "\n")
        end = _STATUS.search(text)
        if end is None:
            raise self._error(f"shell {command.split()[0]}", text, cut=True)
        return int(end[1]), text[: end.start()]

    def _run(self, arguments, timeout):
        serial = ("-s", self.serial) if self.serial else ()
        try:
            return subprocess.run(
                ["adb", *serial, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout,
                start_new_session=True,  # only this process gets Ctrl-C, and cleans up
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ConnectionLostError(
                f"`adb {arguments[0]}` gave no answer for {timeout} s: the phone hangs or is "
                "disconnected."
            ) from error

    def _error(self, action, output, cut=False):
        """The error for an `adb` that failed, or for an incomplete output."""
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        full = next((line for line in lines if "No space left" in line), None)
        if full:
            return AndroidError(f"The phone's storage is full. adb says: {full}")
        state = self._run(("get-state",), SECONDS).stdout.strip() if self.serial else None
        if state is not None and state != "device":
            return ConnectionLostError(
                f"The phone {self.serial} went away during `adb {action}` ({state or 'no state'}). "
                "Check the cable and `adb devices`."
            )
        if cut:
            return ConnectionLostError(
                f"The output of `adb {action}` was cut before its end, so the connection to "
                f"{self.serial} was lost. The last line is: {last!r}"
            )
        return AndroidError(f"`adb {action}` failed: {last}")
