"""Finding a phone, and its properties."""

import dataclasses
import pathlib
import re

from export.android.adb import Adb, AndroidError

# Machines in the ELF header of a binary, with Android's names.
ABIS = {183: ("arm64-v8a",), 40: ("armeabi-v7a", "armeabi"), 62: ("x86_64",), 3: ("x86",)}
TROUBLE = {
    "unauthorized": "has not allowed this computer: unlock it and accept the USB debugging prompt",
    "offline": "is offline: plug it in again, or run `adb reconnect`",
    "no permissions": "may not be read by this user: see `adb devices` for the udev rule it needs",
    "authorizing": "is still connecting: try again in a moment",
    "connecting": "is still connecting: try again in a moment",
    "recovery": "is in recovery mode: start Android",
    "bootloader": "is in the bootloader: start Android",
    "sideload": "is in sideload mode: start Android",
}


@dataclasses.dataclass(frozen=True)
class Phone:
    """A phone that answers.

    Attributes:
        serial: as `adb devices` names it.
        manufacturer, model, board: as the phone reports them, `""` if unknown.
        android: version, `"14"`.
        sdk: API level, `"34"`.
        abis: tuple of the supported ABIs, the best first: `("arm64-v8a", "armeabi-v7a")`.
    """

    serial: str
    manufacturer: str
    model: str
    board: str
    android: str
    sdk: str
    abis: tuple


def find_phone(serial=None):
    """The connected phone, or the one with this serial.

    Args:
        serial: as `adb devices` names it; None for the only one.

    Returns:
        A `Phone`.

    Raises:
        AndroidError: no phone, several phones and no `serial`, or a phone that does not allow
            debugging.
    """
    states = _states(Adb().run("devices"))
    if serial is None:
        if not states:
            raise AndroidError(
                "No phone is connected. Plug one in, with USB debugging turned on in its developer "
                "options; `adb devices` must list it."
            )
        if len(states) > 1:
            listed = ", ".join(f"{name} ({state})" for name, state in states.items())
            raise AndroidError(f"Several phones are connected: {listed}. Choose one with --serial.")
        [serial] = states
    elif serial not in states:
        listed = ", ".join(states) or "none"
        raise AndroidError(f"No phone with the serial {serial} is connected. Connected: {listed}.")
    state = states[serial]
    if state != "device":
        trouble = next((why for name, why in TROUBLE.items() if state.startswith(name)), None)
        raise AndroidError(f"The phone {serial} {trouble or f'is not ready: {state}'}.")
    return _describe(serial)


def _states(listing):
    """`{serial: state}` from the output of `adb devices`."""
    lines = listing.partition("List of devices attached")[2].splitlines()
    pairs = (line.split("\t", 1) for line in lines if "\t" in line)
    return {serial.strip(): state.strip() for serial, state in pairs}


def _describe(serial):
    adb = Adb(serial)
    status, output = adb.shell("getprop")
    if status:
        raise AndroidError(f"`getprop` on {serial} ended with status {status}: {output.strip()}")
    properties = dict(re.findall(r"^\[(.*?)\]: \[(.*?)\]", output, re.MULTILINE))
    abis = properties.get("ro.product.cpu.abilist") or properties.get("ro.product.cpu.abi", "")
    return Phone(
        serial=serial,
        manufacturer=properties.get("ro.product.manufacturer", ""),
        model=properties.get("ro.product.model", ""),
        board=properties.get("ro.board.platform", ""),
        android=properties.get("ro.build.version.release", ""),
        sdk=properties.get("ro.build.version.sdk", ""),
        abis=tuple(filter(None, abis.split(","))),
    )


def binary_abis(path):
    """The ABIs that a binary is for, from its ELF header.

    Raises:
        ValueError: the file is no ELF binary, or is for another kind of processor.
    """
    with pathlib.Path(path).open("rb") as file:
        head = file.read(20)
    machine = int.from_bytes(head[18:20], "little")
    if head[:4] != b"\x7fELF" or machine not in ABIS:
        raise ValueError(
            "`benchmark_binary` must be a `benchmark_model` program for Android; docs/phone.md "
            f"says where to get it. Received: benchmark_binary={path}"
        )
    return ABIS[machine]


def check_abi(phone, path):
    """Raises an AndroidError if the phone cannot run the binary."""
    abis = binary_abis(path)
    if not set(abis) & set(phone.abis):
        raise AndroidError(
            f"{path} is built for {abis[0]}; the phone {phone.serial} runs "
            f"{', '.join(phone.abis) or 'an unknown ABI'}. Get the binary for that."
        )


def check_space(adb, folder, needed):
    """Raises an AndroidError if fewer than `needed` bytes are free in `folder`."""
    status, output = adb.shell(f"df -k {folder}")
    sizes = re.search(r"\s(\d+)\s+(\d+)\s+(\d+)\s+\d+%", output)
    if status or not sizes:
        raise AndroidError(f"The phone does not tell its free space: {output.strip()}")
    free = 1024 * int(sizes[3])
    if free < needed:
        raise AndroidError(
            f"The phone's storage is full: {free / 2**20:.1f} MB are free in {folder}, "
            f"{needed / 2**20:.1f} MB are needed."
        )


def read_battery(adb):
    """Battery and temperature from `dumpsys battery`.

    Returns:
        dict with `level_percent`, `temperature_c` and `powered`; None for unknown values.
    """
    status, output = adb.shell("dumpsys battery")
    found = {} if status else dict(re.findall(r"^\s*([\w ]+): (\S+)", output, re.MULTILINE))
    level, temperature = found.get("level"), found.get("temperature")
    powered = [value == "true" for name, value in found.items() if name.endswith("powered")]
    return {
        "level_percent": int(level) if level else None,
        "temperature_c": int(temperature) / 10 if temperature else None,
        "powered": any(powered) if powered else None,
    }
