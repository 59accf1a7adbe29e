"""Rules of embeddings."""

import keras

from keras_sparse.surgery.constants import Constants, array_row
from keras_sparse.surgery.rules.base import Rule, plain_config, register_rule


@register_rule(keras.layers.Embedding)
class EmbeddingRule(Rule):
    """An embedding: a table column with the same entry in all rows is a constant channel."""

    arity = 0

    def forward(self, call):
        return [(-1, Constants.of(array_row(call.unit.array("embeddings"), -1)))]

    def needs(self, unit):
        """Does nothing: tokens are not channels, and are always kept whole."""

    def config(self, unit):
        return {**plain_config(unit), "output_dim": len(unit.outputs[0].kept)}

    def slices(self, unit):
        return {"embeddings": (None, unit.outputs[0].kept)}


@register_rule(
    keras.layers.ReversibleEmbedding,
    "keras_hub.src.layers.modeling.reversible_embedding.ReversibleEmbedding",
)
class ReversibleEmbeddingRule(EmbeddingRule):
    """An embedding, if it does not also compute scores with the same table."""

    def refuses(self, call):
        back = call.kwargs.get("reverse") or len(call.args) > 1
        return "computes scores of the tokens from its table" if back else None

    def slices(self, unit):
        """Slices the columns of the table, and the rows of a separate table for scores."""
        kept = unit.outputs[0].kept
        return {**super().slices(unit), "reverse_embeddings": (kept, None)}
