"""Old public names work for one release more, and say so."""

import warnings

import keras
import pytest

import keras_sparse
from keras_sparse import _renamed, callbacks, surgery


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (callbacks, "ZeroChannels", "DeadChannelCounter"),
        (surgery, "Opaque", "Unsupported"),
        (surgery, "Passing", "PassThrough"),
    ],
)
def test_names_of_modules(module, old, new):
    with pytest.warns(FutureWarning, match=f"{old}` is renamed to .*{new}`"):
        assert getattr(module, old) is getattr(module, new)


def test_a_name_that_never_was_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'keras_sparse\.surgery' has no attribute 'Rules'"):
        surgery.Rules  # noqa: B018


@pytest.mark.parametrize(
    ("old", "new"),
    [("coupled", "removed_together"), ("settle", "resolve"), ("ties", "coupled_channels")],
)
def test_methods_of_a_rule_of_the_users_own(old, new):
    def method(self, of):
        return [of]

    with pytest.warns(FutureWarning, match=f"`Own.{old}` is renamed to `{new}`"):
        rule = type("Own", (surgery.Elementwise,), {old: method})
    assert getattr(rule(), new)(3) == [3]


def test_a_method_by_its_old_name_reaches_that_of_the_class_above():
    class Own(surgery.Elementwise):
        def removed_together(self, call):
            return ["own"]

    def coupled(self, call):
        return [*super(older, self).coupled(call), "older"]

    with pytest.warns(FutureWarning, match="`Older.coupled` is renamed"):
        older = type("Older", (Own,), {"coupled": coupled})
    with pytest.warns(FutureWarning, match="`Older.coupled` is renamed"):
        assert older().removed_together(None) == ["own", "older"]
    with pytest.warns(FutureWarning, match="`Rule.coupled` is renamed"):
        assert surgery.Rule().coupled(None) == []


def test_a_rule_for_both_versions_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)

        class Both(surgery.Elementwise):
            def removed_together(self, call):
                return []

            coupled = removed_together


def test_arguments():
    @_renamed.arguments(form="variant")
    def function(variant=None):
        return variant

    assert function(variant=1) == function(1) == 1
    with pytest.warns(FutureWarning, match="argument `form` is renamed to `variant`"):
        assert function(form=2) == 2
    with pytest.raises(TypeError, match="`form` is the old name of `variant`"):
        function(form=2, variant=2)


def test_attributes():
    report = surgery.Report({}, {"kernel": 1}, [], (), (1, 1), (1, 1), {})
    with pytest.warns(FutureWarning, match="`Report.cuts` is renamed to `slices`"):
        assert report.cuts == report.slices


def test_the_method_that_starts_the_second_phase():
    optimizer = keras_sparse.RDA()
    optimizer.build([keras.Variable([[1.0]], name="kernel")])
    with pytest.warns(FutureWarning, match="start_retraining` is renamed to `start_fine_tuning`"):
        optimizer.start_retraining()
    assert keras.ops.convert_to_numpy(optimizer._fine_tuning)


def test_the_variant_of_rda():
    with pytest.warns(FutureWarning, match="argument `form` is renamed to `variant`"):
        assert type(keras_sparse.RDA(form="published", l1=1e-3)) is keras_sparse.PublishedRDA


@pytest.mark.parametrize("name", ["form", "variant"])
def test_a_config_with_the_variant_of_rda(name):
    optimizer = keras_sparse.RDA.from_config({name: "published", "l1": 1e-3})
    assert type(optimizer) is keras_sparse.PublishedRDA


def test_saving_a_model_warns_of_no_old_name(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile(keras_sparse.RDA(), "mse")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        model.save(tmp_path / "model.keras")
        keras.saving.load_model(tmp_path / "model.keras")
