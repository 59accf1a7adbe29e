"""Images in one folder per class."""

import pathlib

import numpy as np

from keras_sparse.data.image_stream import ImageStream, decoded, tensorflow

_ENDINGS = (".jpeg", ".jpg", ".png")


class ImageFolder(ImageStream):
    """A classification task in a folder with `train/CLASS/*` and `val/CLASS/*`, like ImageNet.

    Files with an extension of JPEG or PNG are images; others are ignored. The classes are numbered
    in the order of their folders' names. See `ImageStream` for the preparation of images.

    Args:
        folder: path of the folder that holds `train` and `val`.
        size: int, height and width of the prepared images.

    Attributes:
        class_names: tuple of str, the names of the classes' folders.

    Raises:
        ValueError: a missing folder; fewer than two classes; a class without images, or a class in
            only one of `train` and `val`.

    Example:

    >>> images = ImageFolder("imagenet")
    >>> images.classes, images.train_images, images.test_images
    (1000, 1281167, 50000)
    """

    def __init__(self, folder, size=224):
        folder = pathlib.Path(folder)
        self._train, self.class_names = _files(folder / "train")
        self._test, names = _files(folder / "val")
        if names != self.class_names:
            differing = sorted(set(names) ^ set(self.class_names))
            raise ValueError(
                f"{folder / 'train'} and {folder / 'val'} must have the same class folders. Only "
                f"in one of them: {', '.join(differing[:5])}{' ...' if differing[5:] else ''}"
            )
        counts = [len(labels) for _, labels in (self._train, self._test)]
        super().__init__(folder.name, len(names), *counts, size=size)

    def damaged(self):
        """Decodes all files, and returns those that cannot be decoded.

        Use it to find the file at which training stopped. It takes about as long as reading the
        images for an epoch.

        Returns:
            List of `pathlib.Path`.

        Example:

        >>> ImageFolder("imagenet").damaged()
        []
        """
        tf = tensorflow()
        paths = np.concatenate([self._train[0], self._test[0]])

        def checked(path):
            # Without the sum, TensorFlow would skip the decoding.
            return path, tf.reduce_sum(tf.shape(decoded(tf.io.read_file(path))))

        files = tf.data.Dataset.from_tensor_slices(paths)
        files = files.map(checked, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
        good = {path for path, _ in files.as_numpy_iterator()}
        return [pathlib.Path(path) for path in paths if path.encode() not in good]

    def _shuffled(self, key):
        tf = tensorflow()
        places = tf.range(self.train_images)
        return _read(
            tf, self._train, tf.random.experimental.stateless_shuffle(places, key, alg="philox")
        )

    def _tested(self, places):
        return _read(tensorflow(), self._test, places)


def _read(tf, files, places):
    paths, labels = (tf.constant(part) for part in files)

    def read(place):
        return tf.io.read_file(tf.gather(paths, place)), tf.gather(labels, place)

    places = tf.data.Dataset.from_tensor_slices(places)
    return places.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def _files(folder):
    """`((paths, labels), class names)` of a folder of class folders."""
    if not folder.is_dir():
        raise ValueError(
            f"There is no folder {folder}: images are read from train/CLASS/*.jpeg and "
            "val/CLASS/*.jpeg (or .jpg, .png)."
        )
    names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    if not names:
        raise ValueError(
            f"{folder} must hold a folder of images for each class. Found none: sort its images "
            "into folders, for ImageNet's val/ by the validation ground truth."
        )
    if len(names) == 1:
        raise ValueError(
            f"{folder} must hold a folder of images for each class, of at least two. Found one: "
            f"{names[0]}. Sort its images into a folder for each class."
        )
    paths, labels = [], []
    for label, name in enumerate(names):
        found = sorted(
            str(file) for file in (folder / name).iterdir() if file.suffix.lower() in _ENDINGS
        )
        if not found:
            raise ValueError(
                f"{folder / name} holds no {', '.join(_ENDINGS)} file: every class needs an image. "
                "Put its images there, or take the folder away."
            )
        paths += found
        labels += [label] * len(found)
    return (np.array(paths), np.array(labels, "int32")), names
