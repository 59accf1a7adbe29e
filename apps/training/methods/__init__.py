"""The optimizers that `--optimizer` names, each with its settings."""

from apps.training.methods import dense, masked, proximal

# All classes with a `flag` in these modules.
METHODS = {
    method.flag: method
    for module in (proximal, masked, dense)
    for method in vars(module).values()
    if "flag" in getattr(method, "__dict__", ()) and method.__module__ == module.__name__
}
