"""λ of the l1 norm: a number or a schedule."""

import keras
from keras import ops

from keras_sparse.validation import check_number


class HasStrength:
    """Mixin of the optimizers with an `l1` and a `rho`, `λ_t = l1 + rho/(learning_rate·√t)`."""

    def _set_strength(self, l1, rho):
        self.l1 = l1 if callable(l1) else check_number("l1", l1, "[0, inf)")
        self.rho = check_number("rho", rho, "[0, inf)")

    def _current_l1(self):
        l1 = self.l1(self.iterations) if callable(self.l1) else self.l1
        return ops.cast(l1, "float32")

    def get_config(self):
        l1 = keras.saving.serialize_keras_object(self.l1) if callable(self.l1) else self.l1
        return {**super().get_config(), "l1": l1, "rho": self.rho}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if isinstance(config.get("l1"), dict):
            config["l1"] = keras.saving.deserialize_keras_object(config["l1"], custom_objects)
        return super().from_config(config, custom_objects)
