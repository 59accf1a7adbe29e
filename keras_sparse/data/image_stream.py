"""Large images that tf.data reads from disk during training."""

import abc
import contextlib

import keras
import numpy as np

from keras_sparse.validation import check_integer

# The usual figures for ImageNet's training images, for pixels from 0 to 255.
_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
# A centre crop of 224 of 256 pixels.
_CENTRE = 224 / 256


class ImageStream(abc.ABC):
    """A classification task whose images do not fit into memory, prepared as for ImageNet.

    A training image is a random crop, with 8% to 100% of the area and a shape of 3:4 to 4:3. It is
    resized to a square, and mirrored half of the time. A test image is the central square, resized;
    it has 224/256 of the shorter side. Both are resized bilinearly, without antialiasing, which
    would double the work. They are normalised by the mean and standard deviation of ImageNet's
    channels.

    `tf.data` reads and prepares the images in parallel, for TensorFlow and for JAX.

    Args:
        name: str, the task's name.
        classes: int, number of classes.
        train_images, test_images: int, how many there are.
        size: int, height and width of the prepared images.

    Raises:
        ValueError: a size below 1.

    Reference:
        Szegedy et al., arXiv 1409.4842, section 6; He et al., arXiv 1512.03385, section 3.4.
    """

    def __init__(self, name, classes, train_images, test_images, size=224):
        self.name, self.classes = name, classes
        self.train_images, self.test_images = train_images, test_images
        self.size = check_integer("size", size, "[1, inf)")

    @property
    def input_shape(self):
        """`(height, width, channels)` of a prepared image."""
        return self.size, self.size, 3

    def steps_per_epoch(self, batch_size):
        """Number of whole batches of training images, for `model.fit`.

        Args:
            batch_size: int, images a step.

        Raises:
            ValueError: a batch size below 1, or above the number of images.
        """
        if check_integer("batch_size", batch_size, "[1, inf)") > self.train_images:
            raise ValueError(
                f"`batch_size` must be at most the {self.train_images} training images. "
                f"Received: batch_size={batch_size}"
            )
        return self.train_images // batch_size

    def train(self, batch_size, seed=0, first_epoch=0):
        """Shuffled and augmented batches, one epoch after the other without end.

        The order of epoch e and the augmentation of its n-th image depend only on `seed` and e. So
        with `first_epoch=e` a training continues with bit-identical batches. The last images of an
        epoch that do not fill a batch are omitted; they differ in each epoch. (ImageNet has
        1,281,167 training images; with an even batch size, two devices could not share the last
        batch.)

        Args:
            batch_size: int, images a step.
            seed: int, from 0 to 2**63 − 1.
            first_epoch: int, the epoch at which to start.

        Returns:
            A `tf.data.Dataset` of `(images, labels)`: float32 of shape
            `(batch_size, size, size, 3)` and int32 of shape `(batch_size,)`.

        Raises:
            ValueError: a number that is too small; a batch larger than the number of training
                images.

        Example:

        >>> images = ImageFolder("imagenet")
        >>> model.fit(
        ...     images.train(256),
        ...     steps_per_epoch=images.steps_per_epoch(256),
        ...     validation_data=images.test(256),
        ...     epochs=90,
        ...     shuffle=False,
        ... )
        """
        self.steps_per_epoch(batch_size)
        seed = check_integer("seed", seed, "[0, inf)")
        tf = tensorflow()

        def epoch(number):
            key = tf.stack([tf.constant(seed, tf.int64), number])

            def varied(place, image):
                encoded, label = image
                return _varied(encoded, self.size, tf.random.fold_in(key, place)), label

            images = self._shuffled(key).enumerate()
            images = images.map(varied, num_parallel_calls=tf.data.AUTOTUNE)
            return images.batch(batch_size, drop_remainder=True)

        epochs = tf.data.Dataset.counter(check_integer("first_epoch", first_epoch, "[0, inf)"))
        return _finished(epochs.flat_map(epoch))

    def test(self, batch_size, images=None):
        """The test images once, in the order of the source; the last batch may be smaller.

        Args:
            batch_size: int, images a step.
            images: int, the number of images to take. They are evenly spaced, so that each class
                of a sorted source has its share. None: all.

        Returns:
            A `tf.data.Dataset` as from `train`.

        Raises:
            ValueError: a number below 1; more images than there are.
        """
        check_integer("batch_size", batch_size, "[1, inf)")
        if images is None:
            images = self.test_images
        if check_integer("images", images, "[1, inf)") > self.test_images:
            raise ValueError(
                f"`images` must be at most the {self.test_images} test images. "
                f"Received: images={images}"
            )
        tf = tensorflow()
        places = np.arange(images, dtype="int64") * self.test_images // images
        chosen = self._tested(places).map(
            lambda encoded, label: (_centre(encoded, self.size), label),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return _finished(chosen.batch(batch_size))

    @abc.abstractmethod
    def _shuffled(self, key):
        """Dataset of `(encoded image, int32 label)`, in an order that depends on `key` alone.

        Args:
            key: int64 tensor of shape (2,), seed and epoch.
        """

    @abc.abstractmethod
    def _tested(self, places):
        """Dataset of `(encoded image, int32 label)`, always in the same order.

        Args:
            places: increasing int64 array, the images to take.
        """


def tensorflow():
    """The module, without the GPU if another backend trains on it."""
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError("Images are read by tf.data: pip install tensorflow") from error
    if keras.backend.backend() != "tensorflow":
        with contextlib.suppress(RuntimeError):  # TensorFlow is already initialised
            tf.config.set_visible_devices([], "GPU")
    return tf


def decoded(encoded):
    """Pixels of a JPEG or PNG file as a uint8 tensor of shape `(height, width, 3)`."""
    tf = tensorflow()
    # TensorFlow shows this name if training stops at a damaged file.
    name = "damaged_file.ImageFolder.damaged_lists_them"
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False, name=name)
    return tf.ensure_shape(image, (None, None, 3))


def _varied(encoded, size, key):
    tf = tensorflow()
    part, mirrored = tf.unstack(tf.random.split(key, 2))
    image = decoded(encoded)
    start, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        bounding_boxes=[[[0.0, 0.0, 1.0, 1.0]]],
        seed=part,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    image = _resized(tf.slice(image, start, extent), size)
    return tf.image.stateless_random_flip_left_right(image, mirrored)


def _centre(encoded, size):
    tf = tensorflow()
    image = decoded(encoded)
    height, width = tf.unstack(tf.shape(image)[:2])
    side = tf.cast(tf.round(tf.cast(tf.minimum(height, width), "float32") * _CENTRE), "int32")
    side = tf.maximum(side, 1)
    top, left = (height - side) // 2, (width - side) // 2
    return _resized(tf.image.crop_to_bounding_box(image, top, left, side, side), size)


def _resized(image, size):
    tf = tensorflow()
    # Arrays of the image size, because TensorFlow takes several times as long to broadcast three
    # numbers.
    mean, std = (np.full((size, size, 3), figures, "float32") for figures in (_MEAN, _STD))
    return (tf.image.resize(image, (size, size)) - mean) / std


def _finished(batches):
    tf = tensorflow()
    options = tf.data.Options()
    # Each worker takes its share of every batch; a split by files is not possible here.
    policy = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = policy
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)
