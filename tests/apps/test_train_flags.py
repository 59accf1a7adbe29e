"""What the flags become: data, network, optimizer, rate, callbacks; and what is refused."""

import dataclasses
import inspect
import itertools
import json
import pathlib
import types

import keras
import numpy as np
import pytest
from absl import flags

import export
import keras_sparse
from apps import program, train
from apps.training import earlier, loop, run, tasks
from apps.training.config import TrainConfig
from apps.training.loop import Run, optimizer
from apps.training.methods import METHODS
from apps.training.watching import watching

from .flag_values import configured, parse, train_small

pytestmark = pytest.mark.tensorflow
RUN = Run(seed=0, epochs=10, steps_per_epoch=20)
LONG = Run(seed=0, epochs=10, steps_per_epoch=1000)


def made(*arguments):
    return optimizer(configured(*arguments), RUN)


def rate(schedule, step):
    return float(schedule(step)) if callable(schedule) else schedule


def signature(cls):
    """`{argument: default}` of a class, those of its bases included."""
    found = {}
    for base in reversed(cls.__mro__):
        for function in ("__new__", "__init__"):
            if function in vars(base) and base is not object:
                parameters = inspect.signature(getattr(base, function)).parameters
                found |= {name: p.default for name, p in parameters.items()}
    return found


@pytest.mark.parametrize("name", METHODS)
def test_shell_and_python_agree_on_every_default(name):
    method = METHODS[name]
    cls = getattr(keras_sparse, method.__name__, None) or getattr(keras.optimizers, method.__name__)
    defaults = signature(cls)
    fields = {field.name: field.default for field in dataclasses.fields(method)} | method.fitted
    shared = {"fine_tuning_epochs", "update_masks", "prune_schedule", "prune_until", "prune_from"}
    if name == "magnitude_pruning":
        shared.add("target_sparsity")  # a schedule in Python
    if defaults.get("momentum", 0.0) is None:
        shared |= {"momentum", "nesterov"}  # None stands for numbers, which the configs have
    for field, default in fields.items():
        if field not in shared:
            assert defaults[field] == default, field
    # In a training that shortens no schedule they are the same optimizer.
    made, python = optimizer(configured(f"--optimizer={name}"), LONG), cls()
    ours, theirs = made.get_config(), python.get_config()
    theirs = {**theirs, "name": ours["name"], "seed": ours.get("seed")}
    if name == "magnitude_pruning":
        ours["sparsity"] = theirs["sparsity"]  # until half of the training
    assert ours == {key: theirs[key] for key in ours}
    assert type(made) is type(python)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["rda", "--variant=published", "--l1=1e-3", "--center=zero"],
            {"l1": 1e-3, "center": "zero"},
        ),
        (["rda", "--target_sparsity=0.8", "--groups=channel"], {"target_sparsity": 0.8}),
        (["grda", "--c=1e-3", "--mu=0.7", "--exclude="], {"c": 1e-3, "mu": 0.7, "exclude": ()}),
        (["prox_sgd", "--l1=1e-5"], {"l1": 1e-5}),
        (
            ["sparse_momentum", "--density=0.2", "--growth=random", "--update_every=epoch"],
            {"density": 0.2, "growth": "random", "steps_per_epoch": 20},
        ),
        (
            ["rigl", "--distribution=uniform", "--inner=adam"],
            {"inner": "adam", "update_every": 10},
        ),
        (["set", "--update_every=7"], {"update_every": 7, "seed": 0}),
        (["snip", "--momentum=0.5", "--weight_decay=0.1"], {"momentum": 0.5, "weight_decay": 0.1}),
        (["dsr", "--threshold=0.01", "--tolerance=0.3"], {"threshold": 0.01, "tolerance": 0.3}),
        (["deep_r", "--temperature=1e-4", "--l1=1e-3"], {"temperature": 1e-4, "update_every": 1}),
        (["deep_r", "--update_masks=callback"], {"update_every": None}),
        (["static", "--exclude=conv1/"], {"exclude": ("conv1/",)}),
        (["magnitude_pruning", "--scope=global"], {"scope": "global"}),
        (["sgd", "--momentum=0.9", "--nesterov"], {"momentum": 0.9, "nesterov": True}),
        (["static", "--schedule=cosine"], {"inner": "adam"}),
        (["static", "--schedule=staged", "--stages=0.1"], {"inner": "sgd"}),
    ],
    ids=str,
)
def test_arguments_reach_the_optimizer(arguments, expected):
    found = made(f"--optimizer={arguments[0]}", *arguments[1:])
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--optimizer=magnitude_pruning", "--update_every=30"], {"update_every": 30}),
        (["--optimizer=rigl"], {"update_every": 4}),
        (["--optimizer=rigl", "--update_every=100"], {"update_every": 100}),
        (
            ["--variant=accumulated", "--target_sparsity=0.9"],
            {"ramp_steps": 44, "target_sparsity": 0.9},
        ),
        (["--optimizer=rda", "--ramp_steps=70"], {"ramp_steps": 70}),
        (["--optimizer=rda", "--ramp_steps=0.25"], {"ramp_steps": 22}),
    ],
    ids=str,
)
def test_schedules_fit_into_a_short_training(arguments, expected):
    found = optimizer(configured(*arguments), Run(seed=0, epochs=4, steps_per_epoch=22))
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "at_step"),
    [
        (["set", "--prune_rate=0.4", "--prune_schedule=cosine"], {0: 0.4, 100: 0.2, 200: 0}),
        (["rigl", "--prune_rate=0.4", "--prune_schedule=cosine"], {0: 0.4, 75: 0.2, 150: 0}),
        (["set", "--prune_rate=0.3"], {0: 0.3, 200: 0.3}),
        (
            ["dsr", "--prune_rate=0.1", "--prune_schedule=linear", "--prune_until=0.5"],
            {0: 0.1, 50: 0.05, 100: 0},
        ),
    ],
)
def test_prune_rates(arguments, at_step):
    found = made(f"--optimizer={arguments[0]}", *arguments[1:]).prune_rate
    assert {step: found(step) for step in at_step} == pytest.approx(at_step)


@pytest.mark.parametrize(
    ("arguments", "at_step"),
    [
        (["--prune_from=0.1"], {20: 0, 60: 0.9 * 7 / 8, 100: 0.9}),
        (["--prune_from=0.5", "--prune_until=0.5", "--target_sparsity=0.8"], {100: 0, 101: 0.8}),
    ],
)
def test_magnitude_pruning_by_a_schedule(arguments, at_step):
    found = made("--optimizer=magnitude_pruning", *arguments).get_config()["sparsity"]
    schedule = keras.saving.deserialize_keras_object(found)
    assert {step: schedule(step) for step in at_step} == pytest.approx(at_step)


@pytest.mark.parametrize(
    ("arguments", "at_step"),
    [
        (["--optimizer=rda", "--learning_rate=0.3"], {0: 0.3, 150: 0.3}),
        (
            ["--schedule=step", "--step_every=30", "--step_factor=0.5"],
            {0: 1, 29: 1, 30: 0.5, 60: 0.25},
        ),
        (["--schedule=cosine", "--learning_rate=2"], {0: 2, 100: 1, 200: 0}),
        (
            ["--schedule=staged", "--stages=1,5,20", "--stage_starts=2,4"],
            {0: 1, 39: 1, 40: 5, 79: 5, 80: 20, 199: 20},
        ),
        (
            ["--schedule=staged", "--stages=1,5,20", "--stage_starts=0.2,0.4"],
            {0: 1, 39: 1, 40: 5, 79: 5, 80: 20, 199: 20},
        ),
        (["--schedule=staged", "--stages=3"], {0: 3}),
        (["--schedule=inverse_sqrt"], {0: 1, 3: 0.5}),
    ],
)
def test_learning_rates_by_step(arguments, at_step):
    found = made(*arguments)._learning_rate
    found = found if callable(found) else float(found)
    assert {step: rate(found, step) for step in at_step} == pytest.approx(at_step, abs=1e-6)


def kinds(*arguments):
    config = configured(*arguments)
    task = tasks.load(config.data)
    found = watching(config.watching, task, config.training.batch_size, None)
    found += config.optimizer.callbacks(loop.run_of(config.training, task))
    return {type(c).__name__: c for c in found}


def test_every_callback_by_its_flag():
    usual = {"DeadChannelCounter", "SparsityLogger", "Throughput", "TerminateOnDeadNetwork"}
    found = kinds("--optimizer=sgd", "--channel_epochs=3", "--channel_threshold=0.1")
    assert set(found) == usual
    assert found["DeadChannelCounter"].dead_channels.get_config()["epochs"] == 3
    assert found["DeadChannelCounter"].dead_channels.criterion.threshold == 0.1
    found = kinds("--fine_tuning_epochs=7", "--mask_history", "--channel_criterion=apoz")
    assert set(found) == usual | {"AdaptiveSparseRetraining", "MaskHistory"}
    assert found["AdaptiveSparseRetraining"].start_epoch == 53
    found = kinds("--epochs=10", "--fine_tuning_epochs=0.4")
    assert found["AdaptiveSparseRetraining"].start_epoch == 6
    found = kinds(
        "--optimizer=set", "--update_masks=callback", "--update_every=5", "--nostop_when_dead"
    )
    assert found["MaskUpdate"].every == 5
    assert "TerminateOnDeadNetwork" not in found
    # 15 of the 45 steps of an epoch at a time.
    found = kinds("--optimizer=dsr", "--update_masks=callback", "--steps_per_execution=20")
    assert found["MaskUpdate"].every == 90


def test_images_are_those_that_were_asked_for():
    whole = keras_sparse.data.load("digits")
    task = tasks.load(configured("--held_out=0.1", "--train_images=50", "--test_images=30").data)
    np.testing.assert_array_equal(task.dataset.x_train, whole.x_train[:50])
    np.testing.assert_array_equal(task.dataset.x_test, whole.x_train[1294:])
    np.testing.assert_array_equal(task.test[0], whole.x_test[:30])
    task = tasks.load(configured("--test_images=31").data, devices=2)
    np.testing.assert_array_equal(task.dataset.x_test, whole.x_test[:30])
    np.testing.assert_array_equal(task.test[0], whole.x_test[:31])


def test_pixels_from_0_to_1(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, (256, 200, 100), (60, 32, 32, 3), dtype="uint8")
    pixels[0, 0, :2] = [[0, 0, 0], [255, 255, 255]]
    labels = np.arange(60) % 10
    arrays = {"x_train": pixels, "y_train": labels, "x_test": pixels[:9], "y_test": labels[:9]}
    np.savez(tmp_path / "cifar10.npz", **arrays)
    flags = ("--dataset=cifar10", f"--data_dir={tmp_path}", "--unit_pixels", "--optimizer=sgd")
    task = tasks.load(configured(*flags).data)
    np.testing.assert_allclose(task.dataset.x_train, pixels / 255, atol=1e-6)
    np.testing.assert_allclose(task.test[0], pixels[:9] / 255, atol=1e-6)


def test_digits_are_enlarged():
    small, large = (
        tasks.load(configured(f"--image_size={size}", "--train_images=9").data) for size in (8, 16)
    )
    assert (small.input_shape, large.input_shape) == ((8, 8, 1), (16, 16, 1))
    assert large.test[0].shape == (359, 16, 16, 1)
    # Bilinear interpolation to twice the size keeps the mean.
    means = [task.dataset.x_train.mean(axis=(1, 2)) for task in (small, large)]
    np.testing.assert_allclose(*means, atol=1e-5)


def test_images_come_in_the_order_of_the_seed_and_the_epoch():
    config = configured("--train_images=50", "--batch_size=16", "--seed=3")
    task = tasks.load(config.data)
    arrays = task.dataset.x_train, task.dataset.y_train
    expected = keras_sparse.data.Batches(*arrays, 16, seed=3, first_epoch=2)
    found = task.batches(config, first_epoch=2).take(6).as_numpy_iterator()
    for step, batch in enumerate(found):  # of 16, 16, 16 and 2 images, then of the next epoch
        for a, b in zip(batch, expected[step], strict=True):
            np.testing.assert_array_equal(a, b)


def test_settings_reach_the_network(tmp_path):
    training = run.prepare(
        configured(
            *("--model=wide_resnet", "--depth=10", "--width=0.5", "--dropout=0.2", "--l2=1e-3"),
            *(
                "--init_scale=2",
                "--mixed_precision=float16",
                "--jit_compile=false",
                f"--out={tmp_path}",
            ),
            "--steps_per_execution=20",
        )
    )
    model = training.model
    assert model.name == "wrn_10_0_5"
    assert model.get_layer("group1_block1_dropout").rate == 0.2
    assert model.get_layer("conv1").kernel_regularizer.l2 == pytest.approx(1e-3)
    assert isinstance(model.get_layer("conv1").kernel_initializer, keras_sparse.ScaledUniform)
    assert model.dtype_policy.name == "mixed_float16"
    assert keras.config.dtype_policy().name == "float32"
    assert model.optimizer.inner_optimizer.target_sparsity == 0.6
    assert not model.jit_compile
    assert model.steps_per_execution == 15  # of 45 steps


EVERY_7 = ("--update_every=7",)
BAD = [
    (["--dataset=cifar"], "one of <digits"),
    (["--dataset=imagenet", "--data_dir=nowhere"], "train/CLASS|nowhere"),
    (["--dataset=imagenet", "--augment"], "--augment must be omitted with --dataset=imagenet"),
    (
        ["--dataset=mnist", "--image_size=96"],
        "--image_size must be omitted without --dataset=imagenet or digits",
    ),
    (["--model=resnet"], "one of <small_cnn"),
    (["--model=lenet_5"], "at least 16x16"),
    (["--batch_norm"], "--batch_norm is for --model=lenet_300_100 or lenet_5"),
    (["--depth=16"], "--depth is for --model=wide_resnet"),
    (["--model=wide_resnet", "--depth=17"], "--depth must be 6n"),
    (["--model=wide_resnet", "--dropout=2"], "0 or more and below 1"),
    (["--width=-1"], "a finite number, above 0"),
    (["--dataset=mnist", "--data_dir=nowhere"], "There is no file nowhere/mnist.npz"),
    (["--train_images=9999"], "--train_images must be at most 1438"),
    (["--test_images=360"], "--test_images must be at most 359"),
    (["--held_out=1"], "0 or more and below 1"),
    (["--augment"], "--augment must be omitted for images in grey"),
    (["--out=pyproject.toml/run"], "cannot be written"),
    (["--l1=-1"], "a finite number, 0 or more"),
    (["--l2=-1"], "a finite number, 0 or more"),
    (["--epochs=0"], r"range \[1, 2147483647\]"),
    (["--batch_size=0"], r"range \[1, 2147483647\]"),
    (["--fine_tuning_epochs=99"], "--fine_tuning_epochs must be"),
    (["--learning_rate=0"], "a finite number, above 0"),
    (["--learning_rate=nan"], "a finite number, above 0"),
    (["--momentum=2", "--optimizer=sgd"], "0 or more and below 1"),
    (["--momentum=0.5"], "--momentum is for --optimizer=static or snip"),
    (["--optimizer=sgd", "--l1=1"], "--l1 is for --optimizer=rda or prox_sgd or deep_r"),
    (["--optimizer=sgd", "--fine_tuning_epochs=1"], "--fine_tuning_epochs is for"),
    (["--optimizer=rigl", "--update_masks=callback"], "--update_masks must be in_step for rigl"),
    (["--update_masks=apart"], "one of <in_step"),
    (["--optimizer=static", "--update_masks=callback"], "--update_masks is for"),
    (["--optimizer=set", "--update_every=often"], "update_every=often: it must be a number"),
    (["--optimizer=set", "--update_every=0"], "it must be a number from 1, or epoch"),
    (["--optimizer=set", "--prune_schedule=cosine"], "--prune_schedule needs --prune_rate"),
    (["--optimizer=set", "--prune_until=0.5"], "--prune_until needs --prune_schedule"),
    (
        ["--optimizer=set", "--update_masks=callback", *EVERY_7, "--steps_per_execution=3"],
        "--steps_per_execution must be a divisor",
    ),
    (
        ["--optimizer=magnitude_pruning", "--prune_from=0.6", "--prune_until=0.5"],
        "--prune_until must be at least",
    ),
    (["--optimizer=set", "--density=0"], "density=0: .* above 0 and at most 1"),
    (["--optimizer=set", "--exclude=kernel"], "finds no weight to make sparse"),
    (["--target_sparsity=0.9", "--variant=published"], "needs variant='accumulated'"),
    (["--center=zero", "--variant=accumulated"], "--center must be initial"),
    (["--variant=accumulated", "--target_sparsity=0.9", "--rho=1"], "--rho must be omitted"),
    (["--target_sparsity=0.9", "--l1=1"], "--l1 must be omitted with --target_sparsity"),
    (["--exclude=("], "`exclude` .*regular expression"),
    (["--seed=-1"], "integer in the range"),
    (["--schedule=step"], "--step_every must be given"),
    (["--step_every=5"], "--step_every is for --schedule=step"),
    (["--schedule=staged", "--learning_rate=1"], "--learning_rate is for --schedule"),
    (["--schedule=staged"], "--stages must be learning rates above 0"),
    (["--schedule=staged", "--stages=1,x"], "stages=1,x: could not convert"),
    (["--schedule=staged", "--stages=1,2,3", "--stage_starts=0.5,9"], "--stage_starts must be"),
    (["--row=lion"], "--row must be TABLE/ROW, TABLE one of compression"),
    (["--row=rigl_cifar10/lion"], "--row must be rigl_cifar10/ROW, ROW one of rigl-20"),
    (["--row=inactive_unit/sgd"], "one of none: run the table by"),
    (["--schedule=staged", "--stages=1,2", "--stage_starts=5,9"], "--stage_starts must be"),
    (["--l1=1e-4", "--ramp_steps=50"], "--ramp_steps must be omitted with --l1"),
    (["--channel_threshold=0"], "a finite number, above 0"),
    (["--init_bound=lecun"], "--init_bound must be given with --init_scale"),
    (["--quantize=int8,int4"], "--quantize must be any of float16, dynamic, int8"),
    (["--quantize=int8", "--noexport"], "--quantize must be omitted without"),
    (["--strategy=data_parallel"], "set KERAS_BACKEND=jax"),
    (["--strategy=multi_worker"], "TF_CONFIG"),
    (["--strategy=towers"], "one of <mirrored"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=str)
def test_bad_values_are_told_before_any_work(arguments, message, tmp_path):
    with pytest.raises((program.UsageError, flags.Error), match=message):
        train.main(parse(f"--out={tmp_path}", *arguments))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("cluster", "task"),
    [
        (3, {"type": "worker", "index": 0}),
        ({"worker": "localhost:1"}, {"type": "worker", "index": 0}),
        ({"worker": ["localhost"]}, {"type": "worker", "index": 0}),
        ({"worker": [1]}, {"type": "worker", "index": 0}),
        ({"worker": ["localhost:1"]}, {"type": "worker", "index": 1}),
        ({"worker": ["localhost:1"]}, {"type": "worker", "index": "0"}),
        ({"worker": ["localhost:1"]}, {"type": "boss", "index": 0}),
        ({"worker": ["localhost:1"]}, 3),
    ],
)
def test_a_cluster_that_is_none_is_told(cluster, task, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    with pytest.raises(program.UsageError, match="needs the environment variable TF_CONFIG"):
        train.main(parse(f"--out={tmp_path}", "--strategy=multi_worker"))


def test_a_compression_is_not_replaced(tmp_path):
    (tmp_path / "settings.json").touch()
    with pytest.raises(program.UsageError, match="holds a run of the program compress"):
        train.main(parse(f"--out={tmp_path}"))
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_a_dead_network_stops_and_is_told(tmp_path):
    with pytest.raises(program.UsageError, match=r"The network died in epoch 1: .* Lower --l1"):
        train_small(tmp_path, "--l1=100", "--epochs=3")
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 2


def test_a_dead_network_stays_dead_when_it_is_resumed(tmp_path):
    arguments = ("--l1=100", "--epochs=2", "--resume")
    for _ in range(3):
        with pytest.raises(program.UsageError, match=r"The network died in epoch 1: "):
            train_small(tmp_path, *arguments)
    assert not (tmp_path / "model.keras").exists()


@pytest.mark.parametrize(
    ("kind", "memory", "stay"), [("gpu", 1e9, 1), ("gpu", 1e3, 0), ("cpu", 0, 0)]
)
def test_images_stay_on_an_accelerator_that_has_room_for_them(kind, memory, stay):
    device = types.SimpleNamespace(platform=kind, memory_stats=lambda: {"bytes_limit": memory})
    arrays = np.zeros((50, 3, 3, 1)), np.zeros(50, "int32")
    found = tasks.resident(arrays, device)
    assert [keras.ops.is_tensor(part) for part in found] == [bool(stay)] * 2
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found[0]), arrays[0])


def test_a_network_that_cannot_be_converted_is_saved_and_told(tmp_path, monkeypatch):
    def fails(*arguments, **options):
        raise export.ExportError("no kernel for it")

    monkeypatch.setattr("export.run_folder.variants.write_variants", fails)
    with pytest.raises(program.UsageError, match=r"model\.keras; what follows failed: no kernel"):
        train_small(tmp_path, "--optimizer=adam", "--epochs=1", "--export")
    assert (tmp_path / "model.keras").exists()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mixed_precision_is_delivered_in_float32(dtype, tmp_path):
    flag = f"--mixed_precision={dtype}"
    train_small(tmp_path, flag, "--optimizer=rigl", "--epochs=1", "--resume")
    model = keras.saving.load_model(tmp_path / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}


def test_a_target_that_is_not_met_says_so(tmp_path, capsys):
    target = ("--variant=accumulated", "--groups=weight", "--target_sparsity=0.9", "--epochs=2")
    out = tmp_path / "[/run]"  # no markup
    train_small(out, *target, "--ramp_steps=1000")
    missed = json.loads((out / "report.json").read_text())["missed_target"]
    assert missed["asked"] == 0.9
    assert missed["reached"] < 0.5
    assert "until step 1000, and training had 10 steps" in missed["why"]
    assert "--ramp_steps" in missed["why"]
    shown = " ".join(capsys.readouterr().out.split())
    assert f"was requested, and {missed['reached']:.3g} is reached. {missed['why']}" in shown
    assert "[/run]" in shown


def test_masks_and_tensorboard_are_written(tmp_path):
    train_small(tmp_path, "--optimizer=set", "--epochs=2", "--mask_history", "--tensorboard")
    with np.load(tmp_path / "masks.npz") as masks:
        shapes = {masks[name].shape[0] for name in masks}
    assert shapes == {2}
    assert list((tmp_path / "tensorboard").glob("train/events*"))
    assert list((tmp_path / "tensorboard" / "channels").glob("events*"))
    train_small(tmp_path, "--optimizer=sgd", "--epochs=1", "--tensorboard")
    assert len(list((tmp_path / "tensorboard").glob("train/events*"))) == 1
    train_small(tmp_path, "--optimizer=sgd", "--epochs=1")
    assert not (tmp_path / "tensorboard").exists()


def test_images_from_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    for part, name, number in itertools.product(("train", "val"), ("ant", "bee"), range(5)):
        path = tmp_path / part / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, rng.integers(0, 256, (34, 40, 3)), scale=False)
    arguments = ("--dataset=imagenet", "--image_size=32", "--model=lenet_5")
    values = parse(
        *(*arguments, "--optimizer=adam", "--epochs=1", "--batch_size=4", "--noexport"),
        *(f"--data_dir={tmp_path}", f"--out={tmp_path / 'run'}", "--channel_criterion=apoz"),
    )
    train.main(values)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["test_images"] == 10
    assert keras.saving.load_model(tmp_path / "run" / "model.keras").output_shape == (None, 2)


def test_small_run_leaves_what_it_should(tmp_path):
    earlier = ("compact.keras", "dense-float16.tflite", "masks.npz", "report.html")
    for name in (*earlier, "notes.txt"):
        (tmp_path / name).touch()
    train_small(tmp_path, "--epochs=1", "--optimizer=sgd")
    names = {"model.keras", "history.csv", "report.json", "accuracy.png"}
    assert {path.name for path in tmp_path.iterdir()} == names | {"notes.txt"}


def test_a_finished_run_without_export_has_no_report_of_an_earlier_delivery(tmp_path):
    for _ in range(2):
        train_small(tmp_path, "--epochs=1", "--optimizer=sgd", "--resume")
        assert not (tmp_path / "report.html").exists()
        (tmp_path / "report.html").touch()


def test_old_names_of_flags_and_settings():
    with pytest.warns(FutureWarning, match="--retrain_epochs is renamed to --fine_tuning_epochs"):
        old = configured("--form=published", "--l1=1e-3", "--retrain_epochs=3")
    new = configured("--variant=published", "--l1=1e-3", "--fine_tuning_epochs=3")
    with pytest.warns(FutureWarning, match="`retrain_epochs` is renamed to `fine_tuning_epochs`"):
        by_name = TrainConfig.of({**new.given, "retrain_epochs": 4, "fine_tuning_epochs": None})
    assert old == new
    assert by_name.optimizer.fine_tuning_epochs == 4
    for both in ({"form": "published"}, {"retrain_epochs": 3}):
        with pytest.raises(ValueError, match="is the old name of"):
            TrainConfig.of({**new.given, **both})
        flags_given = [f"--{name}={value}" for name, value in both.items()]
        with pytest.raises(ValueError, match="is the old name of --"):
            configured("--variant=published", "--l1=1", "--fine_tuning_epochs=3", *flags_given)


def test_old_names_in_a_checkpoint_are_read(tmp_path):
    settings = configured("--variant=published", "--l1=1e-3", "--fine_tuning_epochs=3").settings
    old = {"variant": "form", "fine_tuning_epochs": "retrain_epochs"}
    stored = {old.get(name, name): value for name, value in settings.items()}
    loop._Checkpoint(tmp_path, (), settings, True, 0.0, steps=10)._check(stored)


EARLIER = json.loads(
    (pathlib.Path(__file__).parents[1] / "fixtures" / "train_settings_0_1.json").read_text()
)


@pytest.mark.parametrize("name", METHODS)
def test_settings_of_an_earlier_version(name):
    found = earlier.settings(EARLIER | {"optimizer": name}, steps=1000)
    given = TrainConfig.of({"optimizer": name}).settings
    assert found.keys() == given.keys()
    assert found["train_images"] == 80


def test_a_checkpoint_without_settings_is_refused():
    with pytest.raises(ValueError, match="did not store its settings"):
        earlier.settings({}, steps=1000)


@pytest.mark.parametrize(
    ("earlier_flags", "flags_of_today"),
    [
        (
            {"optimizer": "rda", "epochs": 10},
            "--optimizer=rda --variant=published --l1=8e-3 --learning_rate=1 --groups=channel "
            "--exclude=logits/ --fine_tuning_epochs=4 --epochs=10 --init_scale=0",
        ),
        (
            {"optimizer": "rda", "form": "accumulated", "target_sparsity": 0.5, "ramp_steps": 9},
            "--optimizer=rda --target_sparsity=0.5 --groups=channel --exclude=logits/ "
            "--fine_tuning_epochs=1 --ramp_steps=9 --epochs=3",
        ),
        (
            {"optimizer": "magnitude_pruning", "prune_until": 0.7},
            "--optimizer=magnitude_pruning --learning_rate=0.01 --target_sparsity=0.9 "
            "--prune_from=0.1 --prune_until=0.7 --scope=layer --update_every=50 --epochs=3",
        ),
        (
            {
                "optimizer": "set",
                "inner": "adam",
                "update_every": "7",
                "prune_schedule": "constant",
            },
            "--optimizer=set --inner=adam --learning_rate=0.003 --update_every=7 --prune_rate=0.3 "
            "--epochs=3",
        ),
        (
            {
                "optimizer": "sgd",
                "schedule": "staged",
                "stages": ["1", "0.5"],
                "stage_starts": ["2"],
            },
            "--optimizer=sgd --momentum=0.9 --nesterov --schedule=staged --stages=1,0.5 "
            "--stage_starts=2 --epochs=3",
        ),
    ],
)
def test_defaults_of_an_earlier_version(earlier_flags, flags_of_today):
    common = "--train_images=80 --test_images=40 --model=lenet_300_100 --width=0.1 --batch_size=16"
    today = configured(*common.split(), *flags_of_today.split())
    if "schedule" not in earlier_flags:
        today = today.replace(schedule="cosine")
    found = earlier.settings(EARLIER | earlier_flags, steps=1000)
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(today.settings))
