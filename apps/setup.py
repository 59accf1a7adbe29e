"""From flags to a compiled model, its data and its callbacks; wrong values are ValueErrors."""

import keras

import keras_sparse
from keras_sparse import models

_MODELS = ("small_cnn", "lenet_300_100", "lenet_5")
_LEARNING_RATES = {"published": 1.0, "accumulated": 0.1, "adam": 1e-3, "sgd": 0.1}


class Progress(keras.callbacks.ProgbarLogger):
    """Keras' progress bar, without the figures of single layers."""

    def on_epoch_end(self, epoch, logs=None):
        """Show the epoch's totals."""
        super().on_epoch_end(epoch, {k: v for k, v in (logs or {}).items() if "/" not in k})


def compiled_model(dataset, flags):
    """The network for a `keras_sparse.data.Dataset`, compiled, with the start that a seed gives."""
    if flags.model not in _MODELS:
        raise ValueError(f"--model must be one of {', '.join(_MODELS)}. Received: {flags.model!r}")
    if flags.batch_norm and flags.model == "small_cnn":
        raise ValueError("--batch_norm is for the LeNets: small_cnn always has it.")
    for name in ("init_scale", "l2"):
        _check(getattr(flags, name) >= 0, name, "0 or more", flags)
    _check(0 <= flags.seed < 2**32, "seed", "from 0 to 2**32 − 1", flags)
    keras.utils.set_random_seed(flags.seed)
    arguments = {"batch_norm": True} if flags.batch_norm else {}
    if flags.l2:
        arguments["kernel_regularizer"] = keras.regularizers.L2(flags.l2)
    if flags.init_scale:
        arguments["kernel_initializer"] = keras_sparse.ScaledUniform(flags.init_scale)
    model = getattr(models, flags.model)(dataset.input_shape, dataset.classes, **arguments)
    model.compile(
        optimizer=_optimizer(flags),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile={"auto": "auto", "true": True, "false": False}[flags.jit_compile],
    )
    return model


def _optimizer(flags):
    if flags.optimizer == "rda":
        rate = _learning_rate(flags, flags.form)
        sparsity = (
            {"l1": flags.l1}
            if flags.target_sparsity is None
            else {"target_sparsity": flags.target_sparsity}
        )
        return keras_sparse.RDA(
            rate,
            rho=flags.rho,
            form=flags.form,
            groups=flags.groups,
            exclude=flags.exclude or None,
            **sparsity,
        )
    if flags.optimizer == "adam":
        return keras.optimizers.Adam(_learning_rate(flags, "adam"))
    if flags.optimizer == "sgd":
        rate, momentum = _learning_rate(flags, "sgd"), flags.momentum
        _check(0 <= momentum <= 1, "momentum", "from 0 to 1", flags)
        return keras.optimizers.SGD(rate, momentum=momentum, nesterov=momentum > 0)
    raise ValueError(f"--optimizer must be rda, adam or sgd. Received: {flags.optimizer!r}")


def _learning_rate(flags, kind):
    if flags.learning_rate is None:
        return _LEARNING_RATES.get(kind, 1.0)
    _check(flags.learning_rate > 0, "learning_rate", "above 0", flags)
    return flags.learning_rate


def callbacks(flags):
    """What watches and steers the training."""
    _check(flags.epochs > 0, "epochs", "1 or more", flags)
    _check(flags.batch_size > 0, "batch_size", "1 or more", flags)
    found = [keras_sparse.callbacks.ZeroChannels(), keras_sparse.callbacks.SparsityLogger()]
    if flags.optimizer == "rda":
        retrain = flags.retrain_epochs
        retrain = flags.epochs * 2 // 5 if retrain is None else retrain
        _check(0 <= retrain <= flags.epochs, "retrain_epochs", "from 0 to --epochs", flags)
        if retrain:
            start = flags.epochs - retrain
            found.append(keras_sparse.callbacks.AdaptiveSparseRetraining(start))
    return [*found, Progress()]


def train(model, dataset, flags, callbacks):
    """Train; returns the history, a dict from a log's name to its values by epoch."""
    history = model.fit(
        dataset.x_train,
        dataset.y_train,
        batch_size=flags.batch_size,
        epochs=flags.epochs,
        validation_data=(dataset.x_test, dataset.y_test),
        callbacks=callbacks,
    )
    return history.history


def _check(holds, name, wanted, flags):
    if not holds:
        raise ValueError(f"--{name} must be {wanted}. Received: {getattr(flags, name)}")
