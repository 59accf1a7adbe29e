"""What `print` shows of results."""

import pathlib

import numpy as np

from export import BenchmarkResult, FileTiming, Verification
from export.benchmark.macs import FileMacs


def timed(path, fastest):
    return FileTiming(
        path,
        bytes=229_040,
        gzip_bytes=200_000,
        num_threads=2,
        signature=None,
        input_bytes=256,
        init_ms=1.0,
        first_ms=1.0,
        warm_up_ms=np.ones(3),
        rounds_ms=np.full((30, 1000), fastest),
        peak_memory=2**20,
        anonymous_memory=None,
        file_backed_memory=None,
        macs=FileMacs(total=1000, tiled=1000, uncounted=()),
        operators=(),
        operators_error="none",
    )


def test_a_benchmark_is_a_short_table():
    long = "a_network_with_a_name_of_fifty_characters_in_all.tflite"
    text = str(BenchmarkResult((timed(long, 0.5), timed("compact.tflite", 0.125))))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 12
    assert "2 thread(s)" in lines[0]
    [row] = [line.split() for line in lines if line.startswith("compact.tflite")]
    assert row[1:] == ["0.218", "0.125", "0.125", "0.125", "0.125", "1.0", "0.250", "1.000"]
    assert "".join(line.split()[0] for line in lines[3:6]).startswith(long)
    assert "rounds_ms" in repr(timed(long, 0.5))


def verification(**changes):
    found = {
        "path": pathlib.Path("folder/small.tflite"),
        "quantize": "int8",
        "bytes": 10_304,
        "operators": {"CONV_2D": 3, "SOFTMAX": 1},
        "samples": 1000,
        "drawn": False,
        "max_abs_error": 0.25,
        "max_relative_error": 0.02,
        "output_errors": {"logits": 0.02},
        "agreement": 0.995,
        "accuracy": 0.98,
        "keras_accuracy": 0.985,
    }
    return Verification(**{**found, **changes})


def test_a_verification_is_one_fact_a_line():
    assert str(verification()).splitlines() == [
        "file                 small.tflite, int8, 10,304 bytes",
        "compared with Keras  on 1,000 samples",
        "largest difference   2.5e-01, 2.0e-02 of the largest output",
        "same prediction      99.50%",
        "accuracy             0.9800, of Keras 0.9850",
        "operators            3 CONV_2D, 1 SOFTMAX",
    ]


def test_the_largest_errors_may_be_of_different_outputs():
    lines = str(verification(output_errors={"box": 0.02, "kind": 0.01})).splitlines()
    assert lines[2:4] == [
        "largest difference      2.5e-01",
        "relative to its output  2.0e-02 of the largest value of an output",
    ]


def test_a_verification_tells_nothing_that_random_samples_do_not_show():
    text = str(verification(drawn=True, accuracy=None, float_operators={"CONV_3D": 2}))
    assert "on 1,000 random samples" in text
    assert "same prediction" not in text
    assert "accuracy" not in text
    assert text.endswith("computed in floats   CONV_3D")
