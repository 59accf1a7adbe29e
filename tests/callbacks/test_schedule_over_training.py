import warnings

import keras
import pytest

from keras_sparse import RDA, sparsity
from keras_sparse.callbacks import ScheduleOverTraining
from tests.optimizers.problems import blobs, small_model


def trained(optimizer, epochs, callbacks=(), model=None, **arguments):
    x, y = blobs()
    model = model or small_model()
    if optimizer is not None:
        model.compile(optimizer, "sparse_categorical_crossentropy")
    options = {"batch_size": 16, "epochs": epochs, "shuffle": False, "verbose": 0, **arguments}
    model.fit(x, y, callbacks=list(callbacks), **options)  # 8 steps an epoch
    return model


def test_a_training_too_short_for_its_target_says_so():
    with pytest.warns(
        UserWarning, match=r"DPF.*of 0\.9.*ended with 0\..*until step 1000.*48 steps"
    ):
        trained(RDA(), 6)


def test_a_training_too_short_for_any_search_says_so():
    with pytest.warns(UserWarning, match=r"ended with 0\. .*until step 20.*16 steps"):
        trained(RDA(ramp_steps=2), 2)


def test_the_ramp_ends_at_a_share_of_the_training():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = trained(RDA(), 6, [ScheduleOverTraining()])
    assert model.optimizer.ramp_steps == 24
    assert sparsity(model) == pytest.approx(0.9, abs=0.01)


def test_a_resumed_training_has_the_ramp_that_it_began_with(tmp_path):
    model = trained(RDA(), 3, [ScheduleOverTraining(0.5)])
    model.save_weights(tmp_path / "x.weights.h5")
    again = small_model()
    again.compile(RDA(), "sparse_categorical_crossentropy")
    again.optimizer.build(again.trainable_variables)
    again.load_weights(tmp_path / "x.weights.h5")
    trained(None, 9, [ScheduleOverTraining(0.5)], again, initial_epoch=3)
    assert float(again.optimizer._ramp_end) == 12


def test_accumulated_gradients_count_once():
    callback = ScheduleOverTraining(1.0)
    model = trained(RDA(gradient_accumulation_steps=2), 6, [callback])
    assert model.optimizer.ramp_steps == 24


def test_what_it_cannot_schedule_is_refused():
    with pytest.raises(ValueError, match=r"needs an optimizer with a schedule.*Adam"):
        trained(keras.optimizers.Adam(), 1, [ScheduleOverTraining()])
    with pytest.raises(ValueError, match=r"needs an optimizer with a schedule.*AccumulatedRDA"):
        trained(RDA(l1=0.1), 1, [ScheduleOverTraining()])


def test_a_length_that_is_not_known_is_refused():
    x, y = blobs()
    batches = ((x[i : i + 16], y[i : i + 16]) for i in range(0, 128, 16))
    model = small_model()
    model.compile(RDA(), "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="steps_per_epoch"):
        model.fit(batches, callbacks=[ScheduleOverTraining()], verbose=0)
