import ast
import importlib
import importlib.util
import pathlib

import pytest

BENCHMARKS = sorted(pathlib.Path(__file__).parents[1].joinpath("benchmarks").glob("*.py"))
OWN = {"keras_sparse", "export", "apps"}


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_what_a_benchmark_imports_from_the_packages_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in OWN:
            module = importlib.import_module(node.module)
            for name in (alias.name for alias in node.names):
                submodule = hasattr(module, "__path__") and importlib.util.find_spec(
                    f"{node.module}.{name}"
                )
                assert hasattr(module, name) or submodule, f"{path.name}: {node.module}.{name}"
