"""Small configurations of KerasHub's models, with random weights: backbones and tasks."""


class _Models:
    """`keras_hub.models`, imported when it is first needed."""

    def __getattr__(self, name):
        import keras_hub

        return getattr(keras_hub.models, name)


_M = _Models()
_TEXT = {
    "vocabulary_size": 30,
    "num_layers": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
}
_HEADS = {**_TEXT, "num_heads": 2}
_SHORT = {**_HEADS, "max_sequence_length": 16}
_GROUPED = {**_TEXT, "num_query_heads": 4, "num_key_value_heads": 2}
_PICTURE = (32, 32, 3)
_VIT = {
    "image_shape": _PICTURE,
    "patch_size": 8,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
}


def _resnet(block="basic_block", pre=False):
    return _M.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type=block,
        use_pre_activation=pre,
        image_shape=_PICTURE,
    )


def _vit(**more):
    return _M.ViTBackbone(**_VIT, mlp_dim=32, **more)


def _mobilenet():
    return _M.MobileNetBackbone(
        stackwise_expansion=[[40, 56], [64, 144]],
        stackwise_num_blocks=[2, 2],
        stackwise_num_filters=[[16, 16], [24, 24]],
        stackwise_kernel_size=[[3, 3], [5, 5]],
        stackwise_num_strides=[[2, 1], [2, 1]],
        stackwise_se_ratio=[[None, None], [0.25, 0.25]],
        stackwise_activation=[["relu", "relu"], ["hard_swish", "hard_swish"]],
        stackwise_padding=[[1, 1], [2, 2]],
        output_num_filters=64,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        squeeze_and_excite=None,
        last_layer_filter=64,
        image_shape=_PICTURE,
    )


def _efficientnet(kind="v1"):
    return _M.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 2,
        stackwise_depth_coefficients=[1.0] * 2,
        stackwise_squeeze_and_excite_ratios=[0.25] * 2,
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[2, 2],
        stackwise_input_filters=[16, 16],
        stackwise_output_filters=[16, 24],
        stackwise_expansion_ratios=[1, 4],
        stackwise_strides=[1, 2],
        stackwise_block_types=[kind] * 2,
        num_features=32,
        input_shape=_PICTURE,
    )


def _densenet():
    return _M.DenseNetBackbone(
        stackwise_num_repeats=[2, 2], compression_ratio=0.5, growth_rate=8, image_shape=_PICTURE
    )


def _vgg():
    return _M.VGGBackbone(
        stackwise_num_repeats=[2, 2], stackwise_num_filters=[8, 16], image_shape=_PICTURE
    )


def _csp(kind):
    return _M.CSPNetBackbone(
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=2,
        stackwise_depth=[1, 2],
        stackwise_strides=[1, 2],
        stackwise_num_filters=[16, 24],
        block_type="dark_block",
        stage_type=kind,
        image_shape=_PICTURE,
    )


def _hgnet():
    return _M.HGNetV2Backbone(
        depths=[1, 2],
        embedding_size=8,
        hidden_sizes=[16, 24],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=True,
        stackwise_stage_filters=[[8, 8, 16, 1, 2, 3], [16, 8, 24, 2, 2, 3]],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, False],
        image_shape=_PICTURE,
    )


def _mit():
    return _M.MiTBackbone(
        layerwise_depths=[1, 1],
        image_shape=_PICTURE,
        hidden_dims=[16, 32],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        max_drop_path_rate=0.1,
    )


def _swin():
    return _M.SwinTransformerBackbone(
        image_shape=_PICTURE,
        patch_size=2,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
    )


def _vitdet():
    return _M.ViTDetBackbone(
        hidden_size=16,
        num_layers=2,
        intermediate_dim=32,
        num_heads=2,
        global_attention_layer_indices=[1],
        image_shape=_PICTURE,
        patch_size=8,
        num_output_channels=8,
        window_size=2,
    )


def _deit():
    return _M.DeiTBackbone(**_VIT, intermediate_dim=32)


def _dino2(**more):
    shape = {"position_embedding_shape": (32, 32)}
    return _M.DINOV2Backbone(**_VIT, intermediate_dim=32, **shape, **more)


def _dino3(**more):
    return _M.DINOV3Backbone(**_VIT, intermediate_dim=32, **more)


def _pyramid():
    return _M.RetinaNetBackbone(
        image_encoder=_resnet(), min_level=3, max_level=4, use_p5=False, image_shape=_PICTURE
    )


def _deeplab():
    return _M.DeepLabV3Backbone(
        image_encoder=_resnet(),
        spatial_pyramid_pooling_key="P4",
        low_level_feature_key="P2",
        upsampling_size=4,
        dilation_rates=[2, 3],
        projection_filters=8,
        image_shape=_PICTURE,
    )


def _whisper():
    sizes = {"max_encoder_sequence_length": 32, "max_decoder_sequence_length": 16}
    return _M.WhisperBackbone(**_HEADS, num_mels=8, **sizes)


def _clip():
    from keras_hub.src.models.clip.clip_text_encoder import CLIPTextEncoder
    from keras_hub.src.models.clip.clip_vision_encoder import CLIPVisionEncoder

    common = {"hidden_dim": 16, "num_layers": 2, "num_heads": 2, "intermediate_dim": 32}
    vision = CLIPVisionEncoder(patch_size=8, image_shape=_PICTURE, **common)
    text = CLIPTextEncoder(vocabulary_size=30, embedding_dim=16, max_sequence_length=16, **common)
    return _M.CLIPBackbone(vision, text, projection_dim=16)


def _albert():
    return _M.AlbertBackbone(**_SHORT, embedding_dim=8)


def _electra():
    sizes = {key: value for key, value in _SHORT.items() if key != "vocabulary_size"}
    return _M.ElectraBackbone(vocab_size=30, embedding_dim=8, **sizes)


def _gemma():
    return _M.GemmaBackbone(**_GROUPED, head_dim=4)


def _classifier(backbone, task="ImageClassifier"):
    return getattr(_M, task)(backbone, num_classes=3)


MODELS = {
    "ResNet": _resnet,
    "ResNet, bottleneck": lambda: _resnet("bottleneck_block"),
    "ResNetV2": lambda: _resnet("bottleneck_block", True),
    "ResNet-vd": lambda: _M.ResNetBackbone(
        input_conv_filters=[8, 8, 16],
        input_conv_kernel_sizes=[3, 3, 3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block_vd",
        image_shape=_PICTURE,
    ),
    "VGG": _vgg,
    "DenseNet": _densenet,
    "MobileNetV3": _mobilenet,
    "EfficientNet": _efficientnet,
    "EfficientNetV2, fused": lambda: _efficientnet("fused"),
    "CSPDarkNet": lambda: _csp("dark"),
    "HGNetV2": _hgnet,
    "MiT": _mit,
    "Swin": _swin,
    "ViT": _vit,
    "ViT without class token": lambda: _vit(use_class_token=False),
    "ViTDet": _vitdet,
    "DeiT": _deit,
    "DINOv2": _dino2,
    "DINOv2, SwiGLU": lambda: _dino2(use_swiglu_ffn=True),
    "DINOv3": _dino3,
    "DINOv3, gated": lambda: _dino3(use_gated_mlp=True),
    "RetinaNet backbone": _pyramid,
    "DeepLabV3": _deeplab,
    "SegFormer": lambda: _M.SegFormerBackbone(image_encoder=_mit(), projection_filters=8),
    "ALBERT": _albert,
    "BART": lambda: _M.BartBackbone(**_SHORT),
    "BERT": lambda: _M.BertBackbone(**_SHORT),
    "BLOOM": lambda: _M.BloomBackbone(**_HEADS),
    "CLIP": _clip,
    "DeBERTaV3": lambda: _M.DebertaV3Backbone(**_SHORT, bucket_size=4),
    "DistilBERT": lambda: _M.DistilBertBackbone(**_SHORT),
    "ELECTRA": _electra,
    "ESM": lambda: _M.ESMBackbone(**_SHORT),
    "Falcon": lambda: _M.FalconBackbone(**_TEXT, num_attention_heads=2),
    "FNet": lambda: _M.FNetBackbone(**_TEXT, max_sequence_length=16),
    "Gemma": _gemma,
    "GPT-2": lambda: _M.GPT2Backbone(**_SHORT),
    "GPT-NeoX": lambda: _M.GPTNeoXBackbone(**_SHORT),
    "GPT-OSS": lambda: _M.GptOssBackbone(**_GROUPED, num_experts=2, head_dim=4),
    "Llama": lambda: _M.LlamaBackbone(**_GROUPED),
    "Llama 3": lambda: _M.Llama3Backbone(**_GROUPED),
    "Mistral": lambda: _M.MistralBackbone(**_GROUPED),
    "Mixtral": lambda: _M.MixtralBackbone(**_GROUPED, num_experts=2),
    "OPT": lambda: _M.OPTBackbone(**_SHORT),
    "Phi-3": lambda: _M.Phi3Backbone(**_GROUPED),
    "Qwen2": lambda: _M.Qwen2Backbone(**_GROUPED),
    "Qwen3": lambda: _M.Qwen3Backbone(**_GROUPED, head_dim=4),
    "RoBERTa": lambda: _M.RobertaBackbone(**_SHORT),
    "RoFormerV2": lambda: _M.RoformerV2Backbone(**_HEADS, head_size=8),
    "T5": lambda: _M.T5Backbone(**_HEADS),
    "Whisper": _whisper,
    "XLM-RoBERTa": lambda: _M.XLMRobertaBackbone(**_SHORT),
    "XLNet": lambda: _M.XLNetBackbone(**_HEADS),
    "ResNet classifier": lambda: _classifier(_resnet()),
    "VGG classifier": lambda: _classifier(_vgg()),
    "DenseNet classifier": lambda: _classifier(_densenet()),
    "EfficientNet classifier": lambda: _classifier(_efficientnet()),
    "MobileNetV3 classifier": lambda: _classifier(_mobilenet()),
    "CSPDarkNet classifier": lambda: _classifier(_csp("dark")),
    "MiT classifier": lambda: _classifier(_mit()),
    "ViT classifier": lambda: _classifier(_vit(), "ViTImageClassifier"),
    "DeiT classifier": lambda: _classifier(_deit(), "DeiTImageClassifier"),
    "DeepLabV3 segmenter": lambda: _M.DeepLabV3ImageSegmenter(_deeplab(), num_classes=3),
    "SegFormer segmenter": lambda: _M.SegFormerImageSegmenter(
        _M.SegFormerBackbone(image_encoder=_mit(), projection_filters=8), num_classes=3
    ),
    "BERT classifier": lambda: _classifier(_M.BertBackbone(**_SHORT), "BertTextClassifier"),
    "BERT masked language model": lambda: _M.BertMaskedLM(_M.BertBackbone(**_SHORT)),
    "DistilBERT classifier": lambda: _classifier(
        _M.DistilBertBackbone(**_SHORT), "DistilBertTextClassifier"
    ),
    "RoBERTa classifier": lambda: _classifier(
        _M.RobertaBackbone(**_SHORT), "RobertaTextClassifier"
    ),
    "ALBERT classifier": lambda: _classifier(_albert(), "AlbertTextClassifier"),
    "FNet classifier": lambda: _classifier(
        _M.FNetBackbone(**_TEXT, max_sequence_length=16), "FNetTextClassifier"
    ),
    "GPT-2 language model": lambda: _M.GPT2CausalLM(_M.GPT2Backbone(**_SHORT)),
    "Llama language model": lambda: _M.LlamaCausalLM(_M.LlamaBackbone(**_GROUPED)),
    "Gemma language model": lambda: _M.GemmaCausalLM(_gemma()),
}
