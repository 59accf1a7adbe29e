"""The device side of Android's debug bridge, on the loopback interface.

Speaks enough of the protocol (AOSP, packages/modules/adb/protocol.txt and SYNC.TXT) for the real
`adb` client: CNXN, OPEN, OKAY, WRTE, CLSE, the services `shell:`, `shell,v2:` and `sync:` with
STAT, SEND and QUIT. Commands are run by /bin/sh with a few of Android's programs put on its PATH,
in a folder that stands for the phone's storage. A pushed ELF binary is stored as a script that
stands for `benchmark_model`.
"""

import contextlib
import itertools
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

MAX_DATA = 256 * 1024
VERSION = 0x01000000
STDOUT, STDERR, EXIT = 1, 2, 3
PUBLIC_KEY = 3  # kind of an AUTH packet
STORAGE = "/data/local/tmp"

PROGRAMS = {
    "getprop": "cat $PHONE/properties",
    "df": (
        "echo 'Filesystem 1K-blocks Used Available Use% Mounted on'\n"
        "echo /dev/block/dm-5 1000000 1 $(cat $PHONE/free) 1% /data"
    ),
    "dumpsys": "cat $PHONE/$1",
    "cat": (
        "case $1 in /sys/devices/system/cpu/online) cat=$PHONE/online;; *) cat=$1;; esac\n"
        "exec /bin/cat $cat"
    ),
    "taskset": (
        'case $1 in *[!0-9a-f]*|"") echo "taskset: bad mask" >&2; exit 1;; esac\n'
        '[ $1 = 100 ] && { echo "taskset: failed to set affinity: Invalid argument"; exit 1; }\n'
        'echo "$1" >> $PHONE/masks; shift; exec "$@"'
    ),
}

PROPERTIES = """[ro.build.version.release]: [14]
[ro.build.version.sdk]: [34]
[ro.board.platform]: [kalama]
[ro.product.cpu.abi]: [arm64-v8a]
[ro.product.cpu.abilist]: [arm64-v8a,armeabi-v7a]
[ro.product.manufacturer]: [Acme]
[ro.product.model]: [Phone 7]
"""

BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  level: 83
  scale: 100
  voltage: 4213
  temperature: 287
  technology: Li-ion
"""


class FakePhone:
    """A phone that `adb connect` reaches; a context manager.

    Attributes:
        folder: where its state lies: `properties`, `free` (kilobytes), `online` (cores), `battery`,
            `benchmark` (the script that stands for the program), `masks` (what taskset was called
            with).
        storage: the folder that stands for /data/local/tmp.
        commands: the shell's command lines, in order.
        cut: None, or after how many bytes of a command's output the stream ends.
        full: True to answer a push as a full disk does.
        state: "device", "unauthorized" or "offline".
    """

    def __init__(self, folder, benchmark, state="device"):
        self.folder = pathlib.Path(folder)
        self.storage = self.folder / "storage"
        self.storage.mkdir(parents=True)
        (self.folder / "bin").mkdir()
        for name, text in PROGRAMS.items():
            self._program(self.folder / "bin" / name, text)
        self.write("properties", PROPERTIES)
        self.write("battery", BATTERY)
        self.write("free", "500000\n")
        self.write("online", "0-7\n")
        self.write("benchmark", benchmark)
        self.commands = []
        self.cut = None
        self.full = False
        self.state = state
        self._connections = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.serial = f"localhost:{self._listener.getsockname()[1]}"

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.unplug()

    def unplug(self):
        """Ends all connections and accepts no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self):
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            connection = Connection(self, stream)
            self._connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()

    def on_phone(self, text):
        """A command line or path with the phone's storage in its place."""
        return text.replace(STORAGE, str(self.storage))

    def save(self, path, mode, content):
        """What the end of a push does."""
        path = pathlib.Path(self.on_phone(path))
        if content[:4] == b"\x7fELF":
            self._program(path, f". {self.folder}/benchmark")
        else:
            path.write_bytes(content)
            path.chmod(mode & 0o777)

    def start(self, command):
        self.commands.append(command)
        environment = {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "PHONE": str(self.folder)}
        return subprocess.Popen(
            ["/bin/sh", "-c", self.on_phone(command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=self.folder,
            start_new_session=True,
        )

    @staticmethod
    def _program(path, text):
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


class Connection:
    """One host's connection; its streams are threads that wait for their input."""

    def __init__(self, phone, stream):
        self.phone = phone
        self.stream = stream
        self.services = {}
        self._lock = threading.Lock()
        self._ids = iter(range(1, 1 << 31))

    def serve(self):
        with contextlib.suppress(OSError, EOFError):
            while True:
                head = self.read(24)
                command, a, b, size, _, _ = struct.unpack("<4s5I", head)
                self._packet(command, a, b, self.read(size))
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.stream.shutdown(socket.SHUT_RDWR)
        self.stream.close()
        for service in list(self.services.values()):
            service.closed()

    def read(self, size):
        data = b""
        while len(data) < size:
            part = self.stream.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def send(self, command, a, b, data=b""):
        number = struct.unpack("<I", command)[0]
        head = struct.pack("<4s5I", command, a, b, len(data), sum(data), number ^ 0xFFFFFFFF)
        with self._lock, contextlib.suppress(OSError):
            self.stream.sendall(head + data)

    def _packet(self, command, remote, local, data):
        if command == b"AUTH" and remote == PUBLIC_KEY:
            return  # a phone asks its owner, and says nothing until then
        if command in (b"CNXN", b"AUTH"):
            self._greet()
        elif command == b"OPEN":
            service = Service(self, next(self._ids), remote, data.rstrip(b"\0").decode())
            self.services[service.local] = service
            threading.Thread(target=service.run, daemon=True).start()
        elif local in self.services:
            self.services[local].packet(command, data)

    def _greet(self):
        if self.phone.state == "device":
            banner = b"device::ro.product.name=acme;ro.product.model=Phone_7;features=shell_v2,cmd"
            self.send(b"CNXN", VERSION, MAX_DATA, banner)
        elif self.phone.state == "unauthorized":
            self.send(b"AUTH", 1, 0, b"0123456789abcdef0123")


class Service:
    """One open stream."""

    def __init__(self, connection, local, remote, name):
        self.connection = connection
        self.phone = connection.phone
        self.local, self.remote, self.name = local, remote, name
        self._input = b""
        self._acknowledged = False
        self._ended = False
        self._news = threading.Condition()
        self._process = None

    def packet(self, command, data):
        with self._news:
            if command == b"OKAY":
                self._acknowledged = True
            elif command == b"WRTE":
                self._input += data
                self.connection.send(b"OKAY", self.local, self.remote)
            elif command == b"CLSE":
                self._end()
            self._news.notify_all()

    def closed(self):
        with self._news:
            self._end()
            self._news.notify_all()

    def _end(self):
        self._ended = True
        if self._process:  # a phone hangs up on a command whose caller has gone
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def run(self):
        self.connection.send(b"OKAY", self.local, self.remote)
        kind, _, command = self.name.partition(":")
        with contextlib.suppress(EOFError):
            if kind.startswith("shell"):
                self._shell(command, packets=",v2" in kind)
            elif kind == "sync":
                self._sync()
        self.connection.send(b"CLSE", self.local, self.remote)

    def read(self, size):
        with self._news:
            self._news.wait_for(lambda: len(self._input) >= size or self._ended)
            if len(self._input) < size:
                raise EOFError
            data, self._input = self._input[:size], self._input[size:]
            return data

    def write(self, data):
        with self._news:
            self._acknowledged = False
            self.connection.send(b"WRTE", self.local, self.remote, data)
            self._news.wait_for(lambda: self._acknowledged or self._ended)
            if self._ended:
                raise EOFError

    def _shell(self, command, packets):
        self._process = process = self.phone.start(command)
        output, errors = process.communicate()
        if "unplug" in os.listdir(self.phone.folder):
            self.phone.unplug()
        if self.phone.cut is not None and "benchmark_model --" in command:
            self.write(self._packet(STDOUT, output[: self.phone.cut]) if packets else output)
            return  # no exit status
        if not packets:
            self.write(output + errors)
            return
        for channel, text in ((STDOUT, output), (STDERR, errors)):
            for start in range(0, len(text), MAX_DATA // 2):
                self.write(self._packet(channel, text[start : start + MAX_DATA // 2]))
        self.write(self._packet(EXIT, bytes([process.returncode & 0xFF])))

    @staticmethod
    def _packet(channel, data):
        return struct.pack("<BI", channel, len(data)) + data

    def _sync(self):
        while True:
            request, size = struct.unpack("<4sI", self.read(8))
            argument = self.read(size).decode() if request != b"QUIT" else ""
            if request == b"STAT":
                self.write(b"STAT" + self._stat(argument))
            elif request == b"SEND":
                self._receive(*argument.rsplit(",", 1))
            else:
                return

    def _stat(self, path):
        try:
            found = os.stat(self.phone.on_phone(path))
        except OSError:
            return struct.pack("<III", 0, 0, 0)
        return struct.pack("<III", found.st_mode, found.st_size, int(found.st_mtime))

    def _receive(self, path, mode):
        content = b""
        while True:
            part, size = struct.unpack("<4sI", self.read(8))
            if part == b"DONE":
                break
            content += self.read(size)
        if self.phone.full:
            reason = f"couldn't write: {os.strerror(28)}".encode()
            self.write(b"FAIL" + struct.pack("<I", len(reason)) + reason)
            return
        self.phone.save(path, int(mode), content)
        self.write(b"OKAY" + struct.pack("<I", 0))


class AdbServer:
    """An `adb` server of the test's own, that sees no phone but those it is told of.

    Its port and home are its own, so that a user's server, keys and phones are left alone.
    """

    def __init__(self, home):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.environment = {
            **os.environ,
            "HOME": str(home),
            "ANDROID_ADB_SERVER_PORT": str(port),
            "ADB_MDNS": "0",
            "TMPDIR": str(home),
        }
        self.environment.pop("ADB_VENDOR_KEYS", None)
        self.environment.pop("ANDROID_SERIAL", None)

    def run(self, *arguments):
        return subprocess.run(
            [shutil.which("adb"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def phones(self):
        """`adb devices` without its title."""
        return self.run("devices").stdout.split("attached")[1].split()

    def wait_for(self, phone, state, seconds=30):
        """Until `adb devices` shows a phone in a state."""
        end = time.monotonic() + seconds
        while (phone.serial, state) not in itertools.pairwise(self.phones()):
            if time.monotonic() > end:
                raise TimeoutError(f"{phone.serial} is not {state}: {self.phones()}")
            time.sleep(0.05)

    def forget(self, seconds=30):
        """Disconnects all phones, and waits until they are off the list."""
        end = time.monotonic() + seconds
        while self.phones() and time.monotonic() < end:
            self.run("disconnect")
            time.sleep(0.05)

    def __enter__(self):
        self.run("start-server")
        return self

    def __exit__(self, *_):
        self.run("kill-server")
