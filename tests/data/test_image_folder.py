import itertools

import keras
import numpy as np
import pytest

from keras_sparse.data import ImageFolder

from . import pictures

MEAN = np.array([0.485, 0.456, 0.406]) * 255
STD = np.array([0.229, 0.224, 0.225]) * 255


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.utils.save_img(path, image, scale=False)


def pixels(images):
    """Normalised images as they were."""
    return images * STD + MEAN


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pictures.write(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def one_colour_each(tmp_path_factory):
    """24 images, which can be told apart whatever is cut out of them; a class is its red."""
    folder = tmp_path_factory.mktemp("colours")
    for part, red, green in itertools.product(("train", "val"), range(3), range(8)):
        image = np.full((20, 30, 3), (red * 50, green * 20, 0))
        save(folder / part / f"red{red}" / f"{green}.png", image)
    return folder


def test_what_is_in_a_folder(folder):
    (folder / "train" / "ant" / "notes.txt").write_text("no image")
    images = ImageFolder(folder, size=8)
    assert images.class_names == pictures.CLASSES
    assert (images.classes, images.train_images, images.test_images) == (3, 15, 6)
    assert images.input_shape == (8, 8, 3)
    assert images.steps_per_epoch(4) == 3
    x, y = next(iter(images.train(4)))
    assert (x.shape, x.dtype, y.dtype) == ((4, 8, 8, 3), "float32", "int32")
    sizes = [len(y) for _, y in images.test(4)]
    assert sizes == [4, 2]


def epochs(images, count, **arguments):
    """By epoch, (red, green) of each image and the labels."""
    stream = iter(images.train(6, **arguments))
    for _ in range(count):
        steps = [next(stream) for _ in range(4)]
        x, y = (np.concatenate(part) for part in zip(*steps, strict=True))
        colours = np.rint(pixels(x)[..., :2] / (50, 20)).astype(int)
        assert (colours == colours[:, :1, :1]).all()
        yield colours[:, 0, 0], y


def test_every_image_once_an_epoch_in_another_order_with_its_label(one_colour_each):
    images = ImageFolder(one_colour_each, size=4)
    orders = []
    for colours, labels in epochs(images, 3, seed=2):
        assert {tuple(colour) for colour in colours} == set(itertools.product(range(3), range(8)))
        np.testing.assert_array_equal(labels, colours[:, 0])
        orders.append(colours.tolist())
    assert orders[0] != orders[1] != orders[2]
    resumed = [c.tolist() for c, _ in epochs(images, 2, seed=2, first_epoch=1)]
    assert resumed == orders[1:]
    (other, _) = next(epochs(images, 1, seed=3))
    assert other.tolist() != orders[0]


def test_training_goes_on_with_the_same_bits(folder):
    images = ImageFolder(folder, size=8)
    whole = list(images.train(4, seed=1).take(9).as_numpy_iterator())
    resumed = images.train(4, seed=1, first_epoch=2).take(3).as_numpy_iterator()
    for one, other in zip(whole[6:], resumed, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_test_images_are_the_centre(tmp_path):
    """Of 256 pixels 224 remain, not resized; of 128x160, the middle 112 resized to 28."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (256, 320, 3))
    for part in ("train", "val"):
        save(tmp_path / part / "a" / "0.png", image)
        save(tmp_path / part / "b" / "0.png", np.kron(image[:32, :40], np.ones((4, 4, 1))))
    ((x, _),) = ImageFolder(tmp_path).test(2)
    np.testing.assert_allclose(pixels(x[0]), image[16:240, 48:272], atol=0.01)
    ((x, _),) = ImageFolder(tmp_path, size=28).test(2)
    np.testing.assert_allclose(pixels(x[1]), image[2:30, 6:34], atol=0.01)


def test_training_images_are_parts_of_every_size_and_mirrored(tmp_path):
    """The red of an image grows from left to right, the green from top to bottom."""
    down, right = np.mgrid[0:200, 0:200]
    image = np.stack([right, down, 0 * down], axis=-1)
    for part, name in itertools.product(("train", "val"), "ab"):
        save(tmp_path / part / name / "0.png", image)
    steps = ImageFolder(tmp_path, size=8).train(1).take(300).as_numpy_iterator()
    shown = pixels(np.concatenate([x for x, _ in steps]))
    # The middles of the outer two of 8 pixels are 7/8 of the part's side apart.
    width = (shown[:, 0, 7, 0] - shown[:, 0, 0, 0]) * 8 / 7
    height = (shown[:, 7, 0, 1] - shown[:, 0, 0, 1]) * 8 / 7
    assert 0.35 < (width < 0).mean() < 0.65
    assert (height > 0).all()
    width = np.abs(width)
    area, shape = width * height / 200**2, width / height
    assert 0.07 < area.min() < 0.2
    assert 0.9 < area.max() < 1.01
    assert 0.72 < shape.min() < 0.85
    assert 1.18 < shape.max() < 1.37


@pytest.mark.parametrize(
    "spoil", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"no image"]
)
def test_damaged_files(tmp_path, spoil):
    folder = pictures.write(tmp_path)
    images = ImageFolder(folder, size=8)
    assert images.damaged() == []
    paths = [folder / "train" / "bee" / "0.jpg", folder / "val" / "cat" / "1.png"]
    for path in paths:
        path.write_bytes(spoil(path.read_bytes()))
    assert images.damaged() == paths
    with pytest.raises(Exception, match=r"damaged_file\.ImageFolder\.damaged_lists_them"):
        list(images.train(4).take(4))


def test_what_is_wrong_with_a_folder_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"There is no folder .*train: images are read from"):
        ImageFolder(tmp_path)
    folder = pictures.write(tmp_path)
    extra = folder / "val" / "dog"
    extra.mkdir()
    with pytest.raises(ValueError, match=r"dog holds no .jpeg, .jpg, .png file: every class"):
        ImageFolder(folder)
    save(extra / "0.png", np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"same class folders\. Only in one of them: dog$"):
        ImageFolder(folder)
    (tmp_path / "flat" / "train").mkdir(parents=True)
    with pytest.raises(ValueError, match="must hold a folder of images for each class"):
        ImageFolder(tmp_path / "flat")


def test_numbers_that_do_not_fit(folder):
    with pytest.raises(ValueError, match="`size` must be 1 or more, and an integer"):
        ImageFolder(folder, size=0)
    images = ImageFolder(folder, size=8)
    with pytest.raises(ValueError, match="at most the 15 training images"):
        images.train(16)
    with pytest.raises(ValueError, match=r"`seed` must be .*integer"):
        images.train(4, seed=0.5)
    with pytest.raises(ValueError, match=r"`first_epoch` must be .*integer"):
        images.train(4, first_epoch=-1)
    with pytest.raises(ValueError, match=r"`batch_size` must be .*integer"):
        images.test(0)


@pytest.mark.parametrize("count", [3, 5, 10, 24])
def test_fewer_test_images_have_their_share_of_each_class(count, one_colour_each):
    images = ImageFolder(one_colour_each, size=4)
    batches = list(images.test(2, count).as_numpy_iterator())
    x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    assert np.ptp(np.bincount(y, minlength=3)) <= 1
    assert len(np.unique(x.reshape(count, -1), axis=0)) == count
    np.testing.assert_array_equal(np.rint(pixels(x)[:, 0, 0, 0] / 50), y)


@pytest.mark.parametrize("count", [0, 25, 2.5])
def test_a_number_of_test_images_that_there_are_not(count, one_colour_each):
    with pytest.raises(ValueError, match=f"images={count}"):
        ImageFolder(one_colour_each).test(2, count)


def test_a_single_class_is_no_classification(tmp_path):
    for part in ("train", "val"):
        save(tmp_path / part / "images" / "0.png", np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"of at least two\. Found one: images"):
        ImageFolder(tmp_path)
