"""A program without the update, run where none is due."""

import keras
import numpy as np
import pytest

from keras_sparse import RDA
from keras_sparse.callbacks import SeparateUpdates
from keras_sparse.optimizers import SET, RigL, SparseMomentum, StaticSparse
from tests.optimizers.matrix import OPTIMIZERS, inner, same_bits
from tests.optimizers.problems import blobs, small_model

STEPS_PER_EPOCH = 6


def fit(model, *callbacks, epochs=2, x=None):
    inputs, y = blobs(8 * STEPS_PER_EPOCH)
    x = inputs if x is None else x
    return model.fit(
        x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks)
    )


def compiled(optimizer, model=None, **kwargs):
    model = model or small_model()
    model.compile(optimizer, "sparse_categorical_crossentropy", **kwargs)
    # TensorFlow would build it in the first step, and trace that twice.
    model.optimizer.build(model.trainable_variables)
    return model


def check_same(make, x=None, **kwargs):
    """The model trained with the callback, after a comparison with one trained without."""
    models = [compiled(make(), **kwargs) for _ in range(2)]
    fit(models[0], x=x)
    fit(models[1], SeparateUpdates(), x=x)
    same_bits(models[0].optimizer.variables, models[1].optimizer.variables)
    same_bits(models[0].weights, models[1].weights)
    return models[1]


@pytest.mark.parametrize("name", ["RigL", pytest.param("SNIP", marks=pytest.mark.slow)])
def test_same_bits_as_with_the_update_in_every_step(name):
    check_same(OPTIMIZERS[name])


@pytest.mark.slow
def test_same_bits_when_gradients_are_accumulated():
    # Searches for the threshold after 40 batches, of which no epoch is made.
    make = OPTIMIZERS["target"]
    models = [compiled(make(gradient_accumulation_steps=2)) for _ in range(2)]
    fit(models[0], epochs=8)
    fit(models[1], SeparateUpdates(), epochs=8)
    same_bits(models[0].optimizer.variables, models[1].optimizer.variables)


@pytest.mark.slow
def test_same_bits_when_a_call_makes_several_steps():
    check_same(lambda: OPTIMIZERS["RigL"](update_every=5), steps_per_execution=2)


def test_a_skipped_step_puts_the_update_off():
    x = blobs(8 * STEPS_PER_EPOCH)[0]
    x[8 * 4 : 8 * 5] = np.nan  # the step in which masks were to change first

    def make():
        return keras.optimizers.LossScaleOptimizer(OPTIMIZERS["RigL"](update_every=4))

    optimizer = inner(check_same(make, x=x).optimizer)
    assert int(optimizer.iterations) == 2 * STEPS_PER_EPOCH - 2


@pytest.mark.parametrize("make", [SparseMomentum, RigL, RDA], ids=lambda make: make.__name__)
def test_the_step_without_update_has_no_conditional(make):
    optimizer = make()
    variables = [keras.Variable(np.ones((5, 4), "float32"), name="kernel")]
    optimizer.build(variables)
    assert _conditionals(optimizer, variables) > 0
    with optimizer.without_update():
        assert _conditionals(optimizer, variables) == 0


def _conditionals(optimizer, variables):
    if keras.backend.backend() == "jax":
        import jax

        values = [v.value for v in optimizer.variables], [v.value for v in variables]
        step = jax.jit(lambda state, weights: optimizer.stateless_apply(state, weights, weights))
        text = step.lower(*values).as_text()
        return text.count("stablehlo.case") + text.count("stablehlo.if")
    import tensorflow as tf

    step = tf.function(lambda: optimizer.apply([tf.ones((5, 4))], variables))
    graph = step.get_concrete_function().graph
    return sum(op.type in ("If", "StatelessIf") for op in graph.get_operations())


def test_only_steps_that_may_update_run_the_whole_program():
    entered = []

    class Watched(SET):
        def without_update(self):
            entered.append(None)
            return super().without_update()

    model = compiled(Watched(density=0.2, update_every=4))
    fit(model, SeparateUpdates(), epochs=3)
    steps = 3 * STEPS_PER_EPOCH
    without = steps - len(range(4, steps, 4))
    assert len(entered) == without
    # Without the callback every step is whole again.
    fit(model, epochs=1)
    x, y = blobs(8)
    model.train_on_batch(x, y)
    assert len(entered) == without


@pytest.mark.parametrize("micro_steps", [None, 3])
@pytest.mark.parametrize("every", [1, 4])
def test_the_host_counts_as_the_step_does(every, micro_steps):
    optimizer = SET(density=0.5, update_every=every, gradient_accumulation_steps=micro_steps)
    rda = RDA(gradient_accumulation_steps=micro_steps)
    for o in (optimizer, rda):
        o.build([keras.Variable(np.ones((5, 4), "float32"), name="kernel")])
    count = 90
    due, searches = [], []
    for done in range(count):
        optimizer._iterations.assign(done)
        rda._iterations.assign(done)
        due.append(bool(optimizer._due()))
        searches.append(bool(rda._search_due()))
    for o, updates in ((optimizer, due), (rda, searches)):
        assert any(updates)
        for done in range(count):
            if any(updates[done:]):
                assert o.batches_without_update(done) == updates[done:].index(True)


def test_a_train_step_of_the_models_own_is_counted_and_kept():
    read = []

    class Watched(SeparateUpdates):
        def _read(self):
            read.append(super()._read())
            return read[-1]

    class Model(keras.Sequential):
        def train_step(self, *arguments):
            return super().train_step(*arguments)

    model = compiled(SET(density=0.2, update_every=4), Model(small_model().layers))
    fit(model, Watched())
    # Also after each step that may have updated.
    assert read == [0, 5, 6, 9]
    assert isinstance(model.train_step.__self__, Model)


def test_more_steps_than_batches_are_refused_when_that_shows():
    class Twice(SET):
        def apply(self, grads, trainable_variables=None):
            super().apply(grads, trainable_variables)
            super().apply(grads, trainable_variables)

    with pytest.raises(RuntimeError, match="12 instead of 6"):
        fit(compiled(Twice(density=0.2, update_every=5)), SeparateUpdates())


@pytest.mark.parametrize(
    "make",
    [StaticSparse, keras.optimizers.SGD, lambda: RDA(l1=1e-4), lambda: SET(update_every=None)],
    ids=["StaticSparse", "SGD", "RDA", "SET"],
)
def test_an_optimizer_without_update_in_its_step_is_refused(make):
    with pytest.raises(ValueError, match="needs an optimizer that updates inside its step"):
        fit(compiled(make()), SeparateUpdates())
