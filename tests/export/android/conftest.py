import pathlib
import shutil
import struct

import pytest

from tests.export.android.fake_phone import AdbServer, FakePhone

OUTPUTS = pathlib.Path(__file__).with_name("outputs")
# What the phone runs in place of the program: it prints a stored output, the second file's twice as
# fast, and with the profiler when it was requested. `$PHONE/delegates` are lines on delegates.
BENCHMARK = f"""
read version < $PHONE/version
[ "$1" = --help ] && {{ cat {OUTPUTS}/v${{version}}_help.txt; exit 1; }}
for argument; do case $argument in
  --graph=*) graph=${{argument#--graph=}};;
  --use_profiler=true|--enable_op_profiling=true) profile=_profile;;
esac; done
[ -f "$graph" ] || {{ echo "ERROR: Failed to load model $graph"; exit 1; }}
touch $PHONE/delegates; cat $PHONE/delegates >&2
case $graph in *model1*) change='s/min=8561/min=4280.5/;s/(min):      8.56/(min):      4.28/';; esac
sed "$change" {OUTPUTS}/v${{version}}$profile.txt | {{
  if [ $version = 2 ]; then cat >&2; else cat; fi; }}
"""


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory):
    if shutil.which("adb") is None:
        pytest.skip("there is no adb (Debian: apt-get install adb)")
    with AdbServer(tmp_path_factory.mktemp("adb")) as server:
        yield server


@pytest.fixture
def adb(adb_server, monkeypatch):
    """The server, which this process's `adb` now uses, with no phone."""
    for name in ("HOME", "ANDROID_ADB_SERVER_PORT", "ADB_MDNS", "TMPDIR"):
        monkeypatch.setenv(name, adb_server.environment[name])
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    return adb_server


@pytest.fixture
def plug_in(adb, tmp_path):
    """A function that connects one more phone."""
    phones = []

    def connect(state="device", version=1):
        phone = FakePhone(tmp_path / f"phone{len(phones)}", BENCHMARK, state)
        phone.write("version", f"{version}\n")
        phones.append(phone.__enter__())
        adb.run("connect", phone.serial)
        adb.wait_for(phone, state)
        return phone

    yield connect
    adb.forget()  # before they go, or the server tries to reach them again
    for phone in phones:
        phone.unplug()


@pytest.fixture
def binary(tmp_path):
    """A file with the header of an ELF program for aarch64."""
    path = tmp_path / "benchmark_model"
    path.write_bytes(b"\x7fELF" + bytes(14) + struct.pack("<H", 183) + bytes(3000))
    return path
