"""`export.android` from end to end: the real `adb`, and a small device side of its protocol."""

import io
import json
import os
import re
import signal
import struct
import threading
import time

import pytest
import rich.console

from export.android import AndroidError, benchmark_on_android, find_phone
from export.android.adb import Adb
from export.android.session import parse_cores
from export.benchmark import summary
from tests.export.tflite_file import write_dense
from tests.in_process import run_program

FOLDER = re.compile(r"/data/local/tmp/keras_sparse_[0-9a-f]{16}")


@pytest.fixture
def models(tmp_path):
    """Two files, the second with half of the first's multiply-accumulates."""
    return [write_dense(tmp_path / f"width{w}.tflite", 32, w) for w in (64, 32)]


@pytest.fixture
def measure(models, binary):
    """Runs the benchmark with what a test wants otherwise; `.saved` has what was saved."""

    def run(**changes):
        run.saved = []
        return benchmark_on_android(
            models,
            **{
                "benchmark_binary": binary,
                "rounds": 2,
                "save": lambda result: run.saved.append(json.loads(json.dumps(result.to_dict()))),
                **changes,
            },
        )

    return run


def graphs(phone):
    """The numbers of the models that were run, in turn."""
    runs = [command for command in phone.commands if "benchmark_model --" in command]
    return [int(re.search(r"--graph=\S+/model(\d)\.tflite", run)[1]) for run in runs]


@pytest.mark.parametrize("version", [1, 2])
def test_two_files(version, plug_in, measure, models):
    phone = plug_in(version=version)
    steps = []
    result = measure(cores=[4, 6], progress=lambda *step: steps.append(step))
    assert result.complete
    assert result.error is None
    assert [file.path for file in result.files] == models
    assert [len(file.runs) for file in result.files] == [2, 2]
    assert {run.version for file in result.files for run in file.runs} == {version}
    assert result.ratios == [1, pytest.approx(0.5)]
    assert result.macs_ratios == [1, 0.5]
    assert result.files[0].latency["median_ms"] == (8.676 if version == 1 else None)
    assert result.files[0].latency["num_runs"] == 230
    assert result.files[0].peak_mb == pytest.approx(24.18, abs=0.01)
    assert all("IGEMM" in " ".join(o.name for o in file.operators) for file in result.files)
    assert steps == [(done, 6) for done in range(1, 7)]
    # In turns, with the other first in the second round; the profiler last.
    assert graphs(phone) == [0, 1, 1, 0, 0, 1]
    profiled = [
        "profil" in command for command in phone.commands if "benchmark_model --" in command
    ]
    assert profiled == [False] * 4 + [True] * 2
    assert (phone.folder / "masks").read_text().split() == ["50"] * 6
    assert not list(phone.storage.iterdir())


def test_a_network_that_is_too_short_for_times_by_operator(plug_in, measure, monkeypatch):
    plug_in()
    monkeypatch.setattr(summary, "PROFILER_MS", 5.0)  # two operators in 8.69 ms
    result = measure()
    assert [file.operators for file in result.files] == [[], []]
    assert "too short to divide its time" in measure.saved[-1]["files"][0]["operators_error"]
    assert "`width64.tflite`: no time by operator; the network is too" in result.to_markdown()


def test_what_is_recorded(plug_in, measure):
    phone = plug_in()
    measure()
    last = measure.saved[-1]
    assert last["device"] == {
        "serial": phone.serial,
        "manufacturer": "Acme",
        "model": "Phone 7",
        "board": "kalama",
        "android": "14",
        "sdk": "34",
        "abis": ["arm64-v8a", "armeabi-v7a"],
    }
    battery = {"level_percent": 83, "temperature_c": 28.7, "powered": True}
    assert last["battery"] == {"before": battery, "after": battery}
    assert (last["complete"], last["error"], last["cores"], last["rounds"]) == (True, None, [], 2)
    assert last["files"][1]["latency"]["p95_ms"] == 8.83
    assert len(last["files"][1]["rounds"]) == 2
    assert last["files"][1]["benchmark_version"] == 1
    assert not any("taskset" in command for command in phone.commands)


def test_every_visit_has_a_folder_of_its_own(plug_in, measure):
    phone = plug_in()
    (phone.storage / "model0.tflite").write_text("another's")
    measure(rounds=1)
    measure(rounds=1)
    folders = {name for command in phone.commands for name in FOLDER.findall(command)}
    assert len(folders) == 2
    assert [path.name for path in phone.storage.iterdir()] == ["model0.tflite"]


def test_table_and_markdown(plug_in, measure):
    plug_in()
    result = measure(rounds=1)
    text = result.to_markdown()
    assert "# Acme Phone 7, Android 14" in text
    assert "before: 28.7 °C, battery 83%" in text
    assert re.search(r"\| width32.tflite \|.* 4\.28 \|.* 0\.500 \| 0\.500 \|", text)
    console = rich.console.Console(width=80, record=True, file=io.StringIO())
    console.print(result)
    assert "width32.tflite" in console.export_text()


@pytest.mark.parametrize(
    ("version", "delegate", "flag"),
    [(1, "npu", "use_nnapi"), (2, "npu", "use_npu"), (1, "cpu", "use_xnnpack"), (2, None, None)],
)
def test_the_flags_that_the_program_gets(version, delegate, flag, plug_in, measure):
    phone = plug_in(version=version)
    given = ["--warmup_runs=3", "--input_layer_shape=1,8,8,3"]
    result = measure(rounds=1, delegate=delegate, benchmark_flags=given)
    runs = [command for command in phone.commands if "benchmark_model --graph" in command]
    passed = given if flag is None else [f"--{flag}=true", *given]
    assert len(runs) == 4
    assert all(" ".join(passed) in run for run in runs)
    assert (result.delegate, result.to_dict()["benchmark_flags"]) == (delegate, given)
    assert "--warmup_runs=3" in result.to_markdown()


def test_a_gpu_that_takes_part_of_the_graph_or_nothing(plug_in, measure):
    phone = plug_in()
    line = "Replacing {} out of 5 node(s) with delegate ({}) node, yielding 1 partitions."
    phone.write("delegates", f"VERBOSE: {line.format(4, 'TfLiteGpuDelegateV2')}\n")
    file = measure(rounds=1, delegate="gpu").to_dict()["files"][0]
    assert file["accelerators"] == ["GPU", "CPU (XNNPACK)"]  # the latter from the stored output
    assert file["delegate_used"] is True
    phone.write("delegates", f"VERBOSE: {line.format(5, 'TfLiteXNNPackDelegate')}\n")
    result = measure(rounds=1, delegate="gpu")
    sentence = "ran on: CPU (XNNPACK), 5 of 5 nodes; not on the GPU that was requested."
    assert result.placements == [f"width{width}.tflite {sentence}" for width in (64, 32)]
    assert f"- width64.tflite {sentence}" in result.to_markdown()
    assert measure.saved[-1]["files"][0]["delegate_used"] is False
    console = rich.console.Console(width=120, record=True, file=io.StringIO())
    console.print(result)
    assert sentence in " ".join(console.export_text().split())


def test_flags_and_delegates_that_the_program_does_not_know(plug_in, measure):
    phone = plug_in()
    phone.write("delegates", "WARN: Unconsumed cmdline flags: --warmup=3\n")
    with pytest.raises(AndroidError, match="does not know these flags: --warmup=3"):
        measure(benchmark_flags=["--warmup=3"])
    phone.write("benchmark", "exit 1")
    with pytest.raises(AndroidError, match="has no --use_gpu, so it cannot run on the GPU"):
        measure(delegate="gpu")
    phone.write("benchmark", "exit 126")
    with pytest.raises(AndroidError, match="cannot execute benchmark_model"):
        measure(delegate="gpu")


def test_no_phone(adb):
    with pytest.raises(AndroidError, match=r"No phone is connected.*USB debugging"):
        find_phone()


def test_two_phones(plug_in):
    first, second = plug_in(), plug_in()
    with pytest.raises(AndroidError, match=r"Several phones .*Choose one with --serial") as error:
        find_phone()
    assert first.serial in str(error.value)
    assert find_phone(second.serial).serial == second.serial
    with pytest.raises(AndroidError, match="No phone with the serial absent is connected"):
        find_phone("absent")


def test_a_phone_that_has_not_allowed_the_computer(plug_in):
    plug_in("unauthorized")
    with pytest.raises(AndroidError, match="has not allowed this computer: unlock it"):
        find_phone()


def test_a_phone_that_is_offline(plug_in, adb):
    phone = plug_in("unauthorized")
    phone.unplug()
    adb.wait_for(phone, "offline")
    with pytest.raises(AndroidError, match="is offline: plug it in again"):
        find_phone()


def test_a_binary_for_another_phone(plug_in, measure, binary):
    phone = plug_in()
    binary.write_bytes(b"\x7fELF" + bytes(14) + struct.pack("<H", 62) + bytes(100))
    with pytest.raises(AndroidError, match=r"is built for x86_64; .* runs arm64-v8a, armeabi-v7a"):
        measure()
    assert not any("mkdir" in command for command in phone.commands)


def test_a_disk_that_is_full_before(plug_in, measure):
    phone = plug_in()
    phone.write("free", "100\n")
    with pytest.raises(AndroidError, match=r"storage is full: 0\.1 MB are free .* are needed"):
        measure()
    assert not any("mkdir" in command for command in phone.commands)


def test_a_disk_that_becomes_full(plug_in, measure):
    phone = plug_in()
    phone.full = True
    with pytest.raises(AndroidError, match=r"storage is full\. adb says: .*No space left"):
        measure()
    assert not list(phone.storage.iterdir())
    assert measure.saved == []


# What stands for benchmark_model when it is requested the second file.
FAULTS = {
    "crash": ("kill -SEGV $$", r"crashed \(SIGSEGV\) with .*width32\.tflite"),
    "abort": ("echo 'F0000 check failed'; kill -ABRT $$", r"\(SIGABRT\).*last line: F0000 check"),
    "refused": (
        "echo 'ERROR: Op builtin_code out of range: 206' >&2; echo 'Benchmarking failed.'; exit 1",
        r"refused .*width32\.tflite \(status 1\): ERROR: Op builtin_code out of range: 206",
    ),
    "cut": ("echo INFO: STARTING!", r"width32\.tflite .*printed no result, or its output was cut"),
    "not executable": ("exit 126", "cannot execute benchmark_model"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_program_that_fails_with_the_second_file(fault, plug_in, measure):
    phone = plug_in()
    script, message = FAULTS[fault]
    working = (phone.folder / "benchmark").read_text()
    phone.write("benchmark", f'case "$*" in *model1*) {script}; exit;; esac\n{working}')
    with pytest.raises(AndroidError, match=message) as error:
        measure()
    last = measure.saved[-1]
    assert [len(file["rounds"]) for file in last["files"]] == [1, 0]
    assert last["files"][0]["latency"]["min_ms"] == 8.561
    assert last["files"][1]["latency"] is None
    assert (last["complete"], last["error"]) == (False, str(error.value))
    assert last["battery"]["after"]["level_percent"] == 83
    assert not list(phone.storage.iterdir())


def test_a_cable_that_is_pulled(plug_in, measure, caplog):
    phone = plug_in()
    working = (phone.folder / "benchmark").read_text()
    phone.write("benchmark", f'case "$*" in *model1*) touch $PHONE/unplug;; esac\n{working}')
    with pytest.raises(
        AndroidError, match=rf"The phone {phone.serial} went away during `adb shell"
    ):
        measure()
    last = measure.saved[-1]
    assert [len(file["rounds"]) for file in last["files"]] == [1, 0]
    assert "went away" in last["error"]
    assert last["battery"]["after"] is None
    assert re.search(r"keras_sparse_\w+ stays on the phone", caplog.text)


def test_output_that_is_cut_on_its_way(plug_in, measure):
    phone = plug_in()
    phone.cut = 300
    with pytest.raises(AndroidError, match=r"was cut before its end.*The last line is: '.+'"):
        measure()
    assert not list(phone.storage.iterdir())


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("getprop", "`getprop` on .* ended with status 3: broken"),
        ("df", "does not tell its free space: broken"),
        ("mkdir", r"keras_sparse_\w+ cannot be made on .*: broken"),
        ("chmod", "cannot be made executable: broken"),
    ],
)
def test_a_shell_command_that_fails(program, message, plug_in, measure):
    phone = plug_in()
    path = phone.folder / "bin" / program
    path.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    path.chmod(0o755)
    with pytest.raises(AndroidError, match=message):
        measure()
    assert not list(phone.storage.iterdir())


def test_cores_that_the_phone_does_not_have(plug_in, measure):
    phone = plug_in()
    with pytest.raises(AndroidError, match=r"no running core 8\. Its running cores are 0-7\."):
        measure(cores=[6, 7, 8])
    phone.write("online", "0-3,6\n")
    with pytest.raises(AndroidError, match=r"no running core 5, 7\. Its running cores are 0-3,6"):
        measure(cores=[3, 5, 6, 7])
    # A phone that does not say it; the program refuses a mask without any core.
    (phone.folder / "online").unlink()
    with pytest.raises(AndroidError, match="the cores that were requested: taskset: failed"):
        measure(cores=[8])


def test_a_battery_that_is_not_told(plug_in, measure):
    phone = plug_in()
    (phone.folder / "battery").unlink()
    nothing = {"level_percent": None, "temperature_c": None, "powered": None}
    assert measure(rounds=1).battery_before == nothing


def test_a_phone_that_hangs(plug_in):
    with pytest.raises(AndroidError, match=r"`adb shell` gave no answer for 0\.5 s"):
        Adb(plug_in().serial).shell("sleep 60", timeout=0.5)


def test_no_adb(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AndroidError, match="There is no `adb` on the PATH"):
        find_phone()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "`rounds` must be an integer >= 1. Received: rounds=0"),
        ({"num_threads": 1.5}, "`num_threads` must be an integer >= 1"),
        ({"cores": []}, "`cores` must be None or numbers of cores"),
        ({"delegate": "tpu"}, "`delegate` must be None or one of cpu, gpu, npu"),
        ({"benchmark_flags": ["--graph=x"]}, "`benchmark_flags` may not set --graph"),
        ({"cores": [-1]}, "`cores` must be None or numbers of cores"),
        ({"benchmark_binary": "absent"}, "`benchmark_binary` names a file that does not exist"),
        ({"benchmark_binary": __file__}, "must be a `benchmark_model` program for Android"),
    ],
)
def test_bad_arguments_reach_no_phone(changes, message, measure, monkeypatch):
    monkeypatch.setattr("export.android.session.find_phone", None)
    with pytest.raises(ValueError, match=message):
        measure(**changes)


@pytest.mark.parametrize(
    ("text", "cores"), [("7", [7]), ("4-7", [4, 5, 6, 7]), ("0,2-3", [0, 2, 3]), (None, None)]
)
def test_cores_of_the_command_line(text, cores):
    assert parse_cores(text) == cores


@pytest.mark.parametrize("text", ["", "a", "4-", "4..7"])
def test_bad_cores_of_the_command_line(text):
    with pytest.raises(ValueError, match=r"`cores` must look like 7 or 4-7 or 0,2\. Received"):
        parse_cores(text)


@pytest.mark.parametrize("text", ["0-99999999999", "1024", "7-4"])
def test_cores_that_no_phone_has(text):
    with pytest.raises(ValueError, match="`cores` must be numbers from 0 to 1023"):
        parse_cores(text)


@pytest.fixture
def command_line(binary, models, tmp_path, monkeypatch, capfd):
    """The program in this process, in a folder of its own; `(status, stdout, stderr)`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("rich._console", None)
    terminate = signal.getsignal(signal.SIGTERM)

    def run(*arguments):
        status = run_program("export.android", f"--benchmark_binary={binary}", *models, *arguments)
        return status, *capfd.readouterr()

    yield run
    signal.signal(signal.SIGTERM, terminate)


def test_command_line(plug_in, command_line, tmp_path):
    plug_in(version=2)
    status, output, errors = command_line(
        "--rounds=1", "--cores=7", "--delegate=gpu", "--benchmark_flags=--warmup_runs=3"
    )
    assert status is None, errors
    assert "not on the GPU that was requested" in " ".join(output.split())
    assert "Acme Phone 7, Android 14" in output
    assert "width32.tflite" in output
    assert json.loads((tmp_path / "android.json").read_text())["complete"]
    assert "| width32.tflite |" in (tmp_path / "android.md").read_text()


def test_command_line_without_a_phone(adb, command_line, tmp_path):
    status, output, _ = command_line()
    assert status.startswith("export.android: No phone is connected.")
    assert not output
    assert not list(tmp_path.glob("android.*"))


def send_when_there(path, end):
    """Sends a signal to this process when a file is there, from a thread of its own."""

    def wait():
        limit = time.monotonic() + 180
        while not path.exists() and time.monotonic() < limit:
            time.sleep(0.05)
        os.kill(os.getpid(), end)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "end", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_ctrl_c_cleans_up_and_keeps_what_was_measured(end, plug_in, command_line, tmp_path):
    phone = plug_in()
    working = (phone.folder / "benchmark").read_text()
    phone.write(
        "benchmark", f'case "$*" in *model1*) touch $PHONE/slow; sleep 600;; esac\n{working}'
    )
    sender = send_when_there(phone.folder / "slow", end)
    status, _, errors = command_line()
    sender.join()
    assert status == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert not list(phone.storage.iterdir())
    kept = json.loads((tmp_path / "android.json").read_text())
    assert [len(file["rounds"]) for file in kept["files"]] == [1, 0]
    assert (kept["complete"], kept["error"]) == (False, "KeyboardInterrupt")
    assert "**Not complete:**" in (tmp_path / "android.md").read_text()


def test_files_of_one_name(plug_in, binary, tmp_path):
    plug_in()
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(write_dense(tmp_path / folder / "net[int8].tflite", 32, 16))
    result = benchmark_on_android(paths, benchmark_binary=binary, rounds=1)
    for name in ("a/net[int8].tflite", "b/net[int8].tflite"):
        assert f"- {name} ran on" in result.to_markdown()
        assert f"| {name} |" in result.to_markdown()
        assert name in str(result)


def test_the_abi_is_that_of_the_program(plug_in, measure, tmp_path):
    plug_in()
    binary = tmp_path / "benchmark_32"
    binary.write_bytes(b"\x7fELF" + bytes(14) + (40).to_bytes(2, "little"))
    result = measure(benchmark_binary=binary)
    assert result.phone.abis[0] == "arm64-v8a"
    assert measure.saved[-1]["abi"] == "armeabi-v7a"
    assert "ABI armeabi-v7a" in result.to_markdown()


@pytest.mark.parametrize("length", [5, 40])
def test_figures_are_whole_in_80_columns(length, plug_in, binary, tmp_path):
    plug_in()
    path = write_dense(tmp_path / f"{'n' * length}.tflite", 32, 16)
    text = str(benchmark_on_android([path], benchmark_binary=binary, rounds=1))
    assert "…" not in text
    assert all(len(line) <= 80 for line in text.splitlines())
