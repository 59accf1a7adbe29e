"""Rules of KerasHub's layers. They are registered by name: KerasHub need not be installed."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants, array_row
from keras_sparse.surgery.rules.activations import IdentityRule
from keras_sparse.surgery.rules.attention import MultiHeadAttentionRule
from keras_sparse.surgery.rules.base import Unsupported, register_rule
from keras_sparse.surgery.rules.channelwise import Elementwise
from keras_sparse.surgery.rules.hidden import HiddenUnits


@register_rule(
    "keras_hub.src.layers.modeling.transformer_encoder.TransformerEncoder",
    "keras_hub.src.layers.modeling.transformer_decoder.TransformerDecoder",
    "keras_hub.src.models.whisper.whisper_encoder.WhisperEncoder",
    "keras_hub.src.models.whisper.whisper_decoder.WhisperDecoder",
    "keras_hub.src.models.gpt_neo_x.gpt_neo_x_decoder.GPTNeoXDecoder",
    "keras_hub.src.models.deberta_v3.disentangled_attention_encoder.DisentangledAttentionEncoder",
)
class Underscored(HiddenUnits):
    """A feed-forward part as in `keras_hub.layers.TransformerDecoder`."""

    first = "_feedforward_intermediate_dense"
    last = "_feedforward_output_dense"
    size = "intermediate_dim"


@register_rule(
    "keras_hub.src.models.roformer_v2.roformer_v2_encoder.RoformerV2Encoder",
    "keras_hub.src.models.esm.esm_encoder.ESMEncoder",
)
class Plain(HiddenUnits):
    """As `Underscored`, with public attributes."""

    first = "feedforward_intermediate_dense"
    last = "feedforward_output_dense"
    size = "intermediate_dim"


@register_rule(
    "keras_hub.src.models.llama.llama_decoder.LlamaTransformerDecoder",
    "keras_hub.src.models.mistral.mistral_transformer_decoder.MistralTransformerDecoder",
    "keras_hub.src.models.qwen.qwen_decoder.QwenTransformerDecoder",
    "keras_hub.src.models.qwen3.qwen3_decoder.Qwen3TransformerDecoder",
)
class Gated(Underscored):
    """A gated feed-forward part, `last(first(x) * activation(gate(x)))`."""

    gate = "_feedforward_gate_dense"

    def functions(self, layer):
        return None, layer.activation


@register_rule("keras_hub.src.models.phi3.phi3_decoder.Phi3Decoder")
class PlainGated(Plain):
    """As `Gated`, with public attributes."""

    gate = "feedforward_gate_dense"
    functions = Gated.functions


@register_rule("keras_hub.src.models.bloom.bloom_decoder.BloomDecoder")
class Bloom(HiddenUnits):
    """Bloom's decoder, with an approximate GELU between its dense layers."""

    first, last = "_mlp_intermediate_dense", "_mlp_output_dense"
    size = "intermediate_dim"

    def functions(self, layer):
        return approximate_gelu, None


@register_rule("keras_hub.src.layers.modeling.f_net_encoder.FNetEncoder")
class FNet(HiddenUnits):
    """FNet's encoder, which cannot be opened because its Fourier transform needs sizes."""

    first, last, size = "_intermediate_dense", "_output_dense", "intermediate_dim"


@register_rule("keras_hub.src.models.falcon.falcon_transformer_decoder.FalconTransformerDecoder")
class Falcon(HiddenUnits):
    """Falcon's decoder, with the attribute names of the original model."""

    first, last, size = "dense_h_to_4h", "dense_4h_to_h", "intermediate_dim"


@register_rule("keras_hub.src.models.xlnet.xlnet_encoder.XLNetEncoder")
class XLNet(Plain):
    """XLNet's encoder, which applies its activation in `call`."""

    def functions(self, layer):
        return layer.activation_function_ff, None


@register_rule("keras_hub.src.models.gemma.gemma_decoder_block.GemmaDecoderBlock")
class Gemma(HiddenUnits):
    """Gemma's decoder; half of its `intermediate_dim` belongs to the gate."""

    first, gate, last = "gating_ffw_2", "gating_ffw", "ffw_linear"
    size, share = "intermediate_dim", 2

    def functions(self, layer):
        return None, approximate_gelu


def approximate_gelu(x):
    """The GELU of KerasHub's layers."""
    return keras.activations.gelu(x, approximate=True)


@register_rule(
    "keras_hub.src.models.dinov2.dinov2_layers.DINOV2DropPath",
    "keras_hub.src.models.mit.mit_layers.DropPath",
    "keras_hub.src.models.swin_transformer.swin_transformer_layers.DropPath",
)
class DropPath(IdentityRule):
    """The identity, at inference."""


@register_rule("keras_hub.src.models.hgnetv2.hgnetv2_layers.HGNetV2LearnableAffineBlock")
class Affine(Elementwise):
    """`scale * x + bias`, with two numbers."""


@register_rule(
    "keras_hub.src.models.dinov2.dinov2_layers.DINOV2LayerScale",
    "keras_hub.src.models.dinov3.dinov3_layers.DINOV3LayerScale",
)
class LayerScale(Elementwise):
    """A learnt factor for each channel."""

    channel_weights = ("lambda1",)
    scale = "lambda1"

    def config(self, unit):
        return {**super().config(unit), "hidden_dim": len(unit.outputs[0].kept)}


@register_rule("keras_hub.src.layers.modeling.cached_multi_head_attention.CachedMultiHeadAttention")
class CachedAttention(MultiHeadAttentionRule):
    """As Keras' attention, but refuses calls with a cache."""

    def refuses(self, call):
        cache = call.kwargs.get("cache") is not None
        return "is called with a cache" if cache else super().refuses(call)


@register_rule("keras_hub.src.layers.modeling.position_embedding.PositionEmbedding")
class PositionEmbeddingRule(Elementwise):
    """A table with a row for each position; only the length of the input matters.

    A column with the same entry for all positions is a constant channel.
    """

    channel_weights = ("embeddings",)
    makes_channels = True

    def refuses(self, call):
        return "is called with positions" if len(call.inputs) > 1 else None

    def axis(self, layer, rank):
        return -1

    def forward(self, call):
        return [(-1, Constants.of(array_row(call.unit.array("embeddings"), -1)))]


_MODELS = "keras_hub.src.models"


@register_rule(
    f"{_MODELS}.gpt_oss.gpt_oss_layer_norm.GptOssLayerNormalization",
    f"{_MODELS}.llama.llama_layernorm.LlamaLayerNorm",
    f"{_MODELS}.mistral.mistral_layer_norm.MistralLayerNormalization",
    f"{_MODELS}.mixtral.mixtral_layer_norm.MixtralLayerNormalization",
    f"{_MODELS}.phi3.phi3_layernorm.Phi3LayerNorm",
    f"{_MODELS}.qwen.qwen_layernorm.QwenLayerNorm",
    f"{_MODELS}.qwen3.qwen3_layernorm.Qwen3LayerNorm",
    f"{_MODELS}.qwen_moe.qwen_moe_layernorm.QwenMoeLayerNorm",
    f"{_MODELS}.qwen3_moe.qwen3_moe_layernorm.Qwen3MoeLayerNorm",
)
class RootMeanSquare(Unsupported):
    """`scale * x / sqrt(mean(x^2) + epsilon)`: all channels stay; those with scale 0 are zero."""

    makes_channels = False
    scale = "scale"
    added = 0.0

    def forward(self, call):
        ((axis, constants),) = super().forward(call)
        scale = call.unit.array(self.scale)
        if axis != -1 or scale is None or scale.shape != constants.values.shape[1:]:
            return [(axis, constants)]
        return [(axis, Constants.of(np.where(scale + self.added == 0, 0.0, np.nan)))]


@register_rule(
    f"{_MODELS}.gemma.rms_normalization.RMSNormalization",
    f"{_MODELS}.gemma3.gemma3_layers.RMSNormalization",
)
class ScaledFromOne(RootMeanSquare):
    """As `RootMeanSquare`, with `1 + scale` as factor."""

    added = 1.0


@register_rule(f"{_MODELS}.t5.t5_layer_norm.T5LayerNorm")
class Weighted(RootMeanSquare):
    """As `RootMeanSquare`, with another name of the weight."""

    scale = "weight"
