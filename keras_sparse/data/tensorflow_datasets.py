"""Images from TensorFlow Datasets."""

import numpy as np

from keras_sparse.data.image_stream import ImageStream, tensorflow

# Size of the buffer of encoded images: about a gigabyte of ImageNet.
_BUFFER = 10_000


class TensorFlowDataset(ImageStream):
    """A classification task of TensorFlow Datasets, such as ImageNet, that is already prepared.

    It needs the splits `train`, and `validation` or else `test`, with an `image` and a `label` for
    each example. See `ImageStream` for the preparation of images. Images are shuffled in a buffer
    of 10,000, in the order of the files, which TensorFlow Datasets shuffled when it wrote them.

    Args:
        name: str, for `tensorflow_datasets.builder`, such as `"imagenet2012"`.
        data_dir: folder of TensorFlow Datasets; None for its default.
        size: int, height and width of the prepared images.

    Raises:
        ImportError: the package tensorflow-datasets is not installed.
        ValueError: an unknown name, a data set that is not prepared, or a data set without images
            and labels.

    Example:

    >>> images = TensorFlowDataset("imagenet2012", data_dir="tensorflow_datasets")
    >>> model.fit(images.train(256), steps_per_epoch=images.steps_per_epoch(256), epochs=90)
    """

    def __init__(self, name, data_dir=None, size=224):
        tensorflow()
        try:
            import tensorflow_datasets as tfds
        except ImportError as error:
            raise ImportError(
                "TensorFlowDataset needs the package: pip install tensorflow-datasets"
            ) from error
        try:
            builder = tfds.builder(name, data_dir=data_dir)
        except (ValueError, LookupError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                "`name` must be a data set that TensorFlow Datasets knows or finds in `data_dir`. "
                f"Received: name={name!r}, data_dir={data_dir!r} ({reason})"
            ) from error
        splits, features = builder.info.splits, builder.info.features
        held_back = "validation" if "validation" in splits else "test"
        if not {"train", held_back} <= set(splits):
            raise ValueError(
                "The data set must have been prepared, with a split train, and validation or "
                f"test. Found {', '.join(splits) or 'none'} in {builder.data_dir}. Run "
                f"tensorflow_datasets.builder({name!r}).download_and_prepare(), or name the right "
                "folder as `data_dir`."
            )
        missing = {"image", "label"} - set(features)
        if missing:
            raise ValueError(f"{name} has no {', '.join(sorted(missing))} in its examples.")
        self._parts = [
            builder.as_dataset(
                split=split, decoders={"image": tfds.decode.SkipDecoding()}, shuffle_files=False
            )
            for split in ("train", held_back)
        ]
        counts = [splits[split].num_examples for split in ("train", held_back)]
        super().__init__(name, features["label"].num_classes, *counts, size=size)

    def _shuffled(self, key):
        tf = tensorflow()
        # Otherwise the seed of Keras' set_random_seed would change the order.
        tf.compat.v1.set_random_seed(1)
        seed = tf.random.stateless_uniform((), key, None, None, "int64")
        images = self._parts[0].shuffle(_BUFFER, seed, reshuffle_each_iteration=False)
        return images.map(_pair)

    def _tested(self, places):
        if len(places) == self.test_images:
            return self._parts[1].map(_pair)
        tf = tensorflow()
        taken = tf.constant(np.isin(np.arange(self.test_images), places))
        numbered = self._parts[1].enumerate().filter(lambda place, _: tf.gather(taken, place))
        return numbered.map(lambda _, example: _pair(example))


def _pair(example):
    tf = tensorflow()
    return example["image"], tf.cast(example["label"], "int32")
