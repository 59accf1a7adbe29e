import json

import keras
import numpy as np

from keras_sparse import SparseMomentum
from keras_sparse.callbacks import MaskHistory
from tests.callbacks.training import fit
from tests.optimizers.problems import small_model


def unpacked(masks, epoch, path):
    return np.unpackbits(masks.epochs[epoch][path], count=masks.sizes[path]).astype(bool)


def test_keeps_the_optimizers_masks():
    masks = MaskHistory()
    optimizer = keras.optimizers.LossScaleOptimizer(SparseMomentum(density=0.3, update_every=3))
    fit(small_model(), optimizer, [masks], epochs=3)
    found = optimizer.inner_optimizer.masks
    assert masks.sizes == {path: int(np.prod(mask.shape)) for path, mask in found.items()}
    assert len(masks.epochs) == 3
    changed = 0
    for path, mask in found.items():
        last = keras.ops.convert_to_numpy(mask).ravel()
        np.testing.assert_array_equal(unpacked(masks, -1, path), last)
        changed += (unpacked(masks, 0, path) != last).sum()
    assert changed > 0


def test_without_masks_keeps_what_is_not_zero():
    model, masks = small_model(), MaskHistory(exclude="logits")
    kernel = np.ones((6, 16), "float32")
    kernel[:2] = 0
    model.get_layer("hidden").kernel.assign(kernel)
    fit(model, keras.optimizers.SGD(0.0), [masks])
    (path,) = masks.sizes
    assert path.endswith("hidden/kernel")
    np.testing.assert_array_equal(unpacked(masks, 0, path), kernel.ravel() != 0)


def test_goes_on_in_another_process():
    masks, later = MaskHistory(), MaskHistory()
    model, sgd = small_model(), keras.optimizers.SGD(0.0)
    fit(model, sgd, [masks])
    later.set_state(json.loads(json.dumps(masks.get_state())))
    fit(model, sgd, [later])
    assert later.sizes == masks.sizes
    assert len(later.epochs) == 2
    for epoch in later.epochs:
        for path, mask in epoch.items():
            np.testing.assert_array_equal(mask, masks.epochs[0][path])
