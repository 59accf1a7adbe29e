"""Times on a machine that is slow for the moment. The machine is made up."""

import numpy as np
import pytest

from export.latency import timing

REFERENCE = 50e-6


class Machine:
    """Runs "files" that are their own seconds, slower by a factor of the burst."""

    def __init__(self, slowness):
        self.slowness = slowness
        self.bursts = 0

    def burst(self, seconds, runs):
        self.bursts += 1
        return seconds * self.slowness(self.bursts)


@pytest.fixture
def timer(monkeypatch):
    def made(slowness, **arguments):
        machine = Machine(slowness)
        monkeypatch.setattr(timing, "_load", lambda content, threads: content)
        monkeypatch.setattr(timing, "_burst", machine.burst)
        monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)
        return timing.HostTimer(REFERENCE, **arguments)

    return made


FILES = [20e-6, 3e-3, 450e-6]


@pytest.mark.parametrize(
    "slowness",
    [
        lambda burst: 1.0,
        lambda burst: 1.0 if burst % 200 < 100 else 1.6,
        lambda burst: 1.0 if burst < 30 else 1.6,
    ],
    ids=["never", "in phases", "after the first look"],
)
def test_a_machine_that_is_slow_at_times_makes_no_file_slower(timer, slowness):
    np.testing.assert_allclose(timer(slowness)(FILES), FILES, rtol=1e-6)


def test_a_machine_that_is_always_slow_changes_no_ratio(timer):
    found = timer(lambda burst: 1.6)(FILES)
    np.testing.assert_allclose(found, np.multiply(1.6, FILES), rtol=1e-6)


def test_times_of_two_calls_can_be_compared(timer):
    found = timer(lambda burst: 1.6, least=REFERENCE)(FILES)
    np.testing.assert_allclose(found, FILES, rtol=1e-6)


def test_a_slow_file_beside_a_fast_reference_stays_slow(timer):
    # Interrupted in every fourth burst of its own: the median is not moved.
    own = np.random.default_rng(0).random(10000) < 0.25
    machine = timer(lambda burst: 1.0 + 0.5 * own[burst])
    np.testing.assert_allclose(machine(FILES), FILES, rtol=0.02)
