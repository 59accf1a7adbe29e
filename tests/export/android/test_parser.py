"""The outputs are put together from the format strings in the programs' sources."""

import pathlib

import pytest

from export.android.parser import parse_output

OUTPUTS = pathlib.Path(__file__).with_name("outputs")


def output(name):
    return (OUTPUTS / name).read_text()


def test_tflite_program():
    found = parse_output(output("v1.txt"))
    assert found.version == 1
    assert found.latency == pytest.approx(
        {
            "init_ms": 16.231,
            "warmup_first_ms": 11.216,
            "warmup_avg_ms": 8.75926,
            "num_warmup_runs": 57,
            "avg_ms": 8.6924,
            "min_ms": 8.561,
            "max_ms": 9.142,
            "median_ms": 8.676,
            "std_ms": 0.08,
            "p5_ms": 8.601,
            "p95_ms": 8.83,
            "num_runs": 115,
        }
    )
    assert found.memory == {"init_mb": 17.1016, "overall_mb": 19.6836, "peak_mb": 24.1836}
    assert found.operators == []


def test_litert_program():
    found = parse_output(output("v2.txt"))
    assert found.version == 2
    assert found.latency == {
        "init_ms": 16.23,
        "warmup_first_ms": 11.22,
        "warmup_avg_ms": 8.76,
        "num_warmup_runs": 57,
        "avg_ms": 8.69,
        "min_ms": 8.56,
        "max_ms": 9.14,
        "median_ms": None,
        "std_ms": 0.08,
        "p5_ms": None,
        "p95_ms": None,
        "num_runs": 115,
    }
    assert found.memory == {"init_mb": 17.10, "overall_mb": 19.68, "peak_mb": 24.18}


def test_litert_program_that_prints_the_statistics_too():
    lines = [line for line in output("v1.txt").splitlines() if "count=" in line]
    latency = parse_output("\n".join([*lines, output("v2.txt")])).latency
    assert (latency["median_ms"], latency["p95_ms"], latency["min_ms"]) == (8.676, 8.83, 8.561)
    assert latency["init_ms"] == 16.23


def test_runs_that_are_all_the_same():
    found = parse_output(output("v1_profile.txt"))
    assert found.latency["num_runs"] == 3
    assert {found.latency[f"{key}_ms"] for key in ("min", "max", "median", "p95")} == {8.7}
    assert found.latency["std_ms"] == 0


def test_a_single_run_is_its_own_minimum_and_median():
    text = output("v1.txt")
    lines = [line for line in text.splitlines() if "count=" in line]
    single = parse_output(text.replace(lines[-1], "INFO: count=1 curr=1900000")).latency
    assert {single[f"{key}_ms"] for key in ("min", "max", "median", "p95", "avg")} == {1900.0}
    assert (single["num_runs"], single["std_ms"]) == (1, 0)


def test_profile_of_the_tflite_program():
    operators = parse_output(output("v1_profile.txt")).operators
    assert [(o.name, o.nodes, o.share) for o in operators] == [
        ("Convolution (NHWC, F32) IGEMM", 1, pytest.approx(0.57862)),
        ("Fully Connected (NC, F32) GEMM", 1, pytest.approx(0.42138)),
    ]


def test_profile_of_the_litert_program():
    found = parse_output(output("v2_profile.txt"))
    assert "Delegate/Convolution (NHWC, F32) IGEMM" in [o.name for o in found.operators]
    assert sum(o.share for o in found.operators) == pytest.approx(1, abs=1e-4)
    assert sum(o.nodes for o in found.operators) == 9
    assert found.latency["num_runs"] == 115


@pytest.mark.parametrize(
    ("name", "needed"), [("v1.txt", "Inference timings"), ("v2.txt", "Inference (avg)")]
)
def test_output_that_is_cut(name, needed):
    text = output(name)
    with pytest.raises(ValueError, match="its output was cut"):
        parse_output(text[: text.index(needed)])
    with pytest.raises(ValueError, match="its output was cut"):
        parse_output("")
