"""What is asked of `benchmark_model`, and what it says of where it ran.

The lines are those of the format strings in the sources of TFLite and LiteRT.
"""

import pytest

from export.android.delegates import check_flags, missed, parse_execution

REPLACING = "INFO: Replacing {} out of {} node(s) with delegate ({}) node, yielding 1 partitions.\n"
APPLIED = "INFO: Explicitly applied {} delegate, and the model graph will be {} executed by the "
REFUSED = (
    "INFO: Though {} delegate is explicitly applied, the model graph will not be executed by the "
    "delegate.\n"
)

OUTPUTS = {
    "TFLite's GPU, and what it leaves in part on the CPU's library": (
        REPLACING.format(4, 9, "TfLiteGpuDelegateV2")
        + REPLACING.format(3, 6, "TfLiteXNNPackDelegate"),
        "GPU, 4 of 9 nodes + CPU (XNNPACK), 3 of 6 nodes + CPU (built-in kernels), 2 of 9 nodes",
        {"gpu": False, "npu": True, "cpu": False},
    ),
    "TFLite's GPU": (
        REPLACING.format(31, 31, "TfLiteGpuDelegateV2") + APPLIED.format("GPU", "completely"),
        "GPU, 31 of 31 nodes",
        {"gpu": False, "npu": True, "cpu": False},
    ),
    "LiteRT's GPU and the rest on the CPU": (
        REPLACING.format(28, 31, "LITERT_CL") + REPLACING.format(3, 4, "TfLiteXNNPackDelegate"),
        "GPU, 28 of 31 nodes + CPU (XNNPACK), 3 of 4 nodes",
        {"gpu": False},
    ),
    "a GPU that refuses": (
        REFUSED.format("GPU") + REPLACING.format(31, 31, "TfLiteXNNPackDelegate"),
        "CPU (XNNPACK), 31 of 31 nodes (refused by GPU)",
        {"gpu": True, None: False},
    ),
    "NNAPI, without numbers": (
        APPLIED.format("NNAPI", "partially"),
        "NNAPI",
        {"npu": False, "gpu": True},
    ),
    "LiteRT's NPU": (
        REPLACING.format(1, 1, "DispatchDelegate"),
        "NPU, 1 of 1 nodes",
        {"npu": False},
    ),
    "nothing": ("INFO: STARTING!\n", "not told", {"gpu": True, "cpu": False, None: False}),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_where_it_ran(case):
    text, where, asked = OUTPUTS[case]
    execution = parse_execution(text)
    assert str(execution) == where
    assert {delegate: missed(delegate, execution) for delegate in asked} == asked


def test_flags_that_are_none():
    assert check_flags(None) == ()
    assert check_flags(["--warmup_runs=3"]) == ("--warmup_runs=3",)
    with pytest.raises(ValueError, match=r"each as --name=value. Received: 'warmup_runs=3'"):
        check_flags(["warmup_runs=3"])
    with pytest.raises(ValueError, match=r"may not set --num_runs: give num_runs. Received"):
        check_flags(["--num_runs=3"])


@pytest.mark.parametrize("name", ["help", "helpfull", "version", "dry_run"])
def test_flags_that_time_nothing_are_refused(name):
    with pytest.raises(ValueError, match=f"may not set --{name}: .* times nothing. Give "):
        check_flags([f"--{name}=true"])
