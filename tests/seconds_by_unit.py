"""A latency table whose times are known, for networks with a first layer of 16 units."""


class SecondsByUnit:
    """Time of a device that takes a second for each unit, and one more for a whole model."""

    def layer_seconds(self, layer, shapes):
        return float(shapes["kernel"][-1]) if layer == "first" else 0.0

    def total(self):
        return 17.0

    def models_seconds(self, models):
        return [1.0 + model.get_layer("first").units for model in models]
