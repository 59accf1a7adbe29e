"""What C++ code writes to standard error: notes are held back, the rest is shown."""

import os

import pytest

from export.quiet import quiet_import, without_notes

NOTES = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1 port.cc:153] oneDNN custom operations are on.\n"
    b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
)
ERRORS = b"ERROR: Node number 3 failed to prepare.\nE0000 00:00:1 no memory\n"


@pytest.mark.parametrize(
    ("manager", "shown"), [(without_notes, ERRORS.decode()), (quiet_import, "")]
)
def test_notes_are_held_back(manager, shown, capfd):
    with manager():
        os.write(2, NOTES + ERRORS)
    assert capfd.readouterr().err == shown


def fail():
    os.write(2, NOTES + ERRORS)
    raise ImportError


@pytest.mark.parametrize("manager", [without_notes, quiet_import])
def test_all_is_shown_of_what_fails(manager, capfd):
    with pytest.raises(ImportError), manager():
        fail()
    assert capfd.readouterr().err == (NOTES + ERRORS).decode()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
