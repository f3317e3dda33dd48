"""scikit-learn's own checks of estimators: those it yields, and those it does not."""

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvqdraw import VQDRAW, VQVAE, ClusterBoosting
from skvqdraw.autoencoders import MLPAutoencoder
from skvqdraw.losses import Gaussian
from skvqdraw.preprocessing import CharacterTokenizer
from skvqdraw.refiners import MLPRefiner


def small(**params):
    refiner = MLPRefiner(hidden_size=16, basis_size=4)
    return VQDRAW(3, 4, refiner=refiner, max_steps=10, random_state=0, **params)


def boosting(**params):
    return ClusterBoosting(3, 4, random_state=0, **params)


def vqvae(**params):
    autoencoder = MLPAutoencoder(n_positions=3, hidden_size=16, n_blocks=1)
    return VQVAE(4, autoencoder=autoencoder, max_steps=10, random_state=0, **params)


EXPECTED_FAILED_CHECKS = {
    VQDRAW: {
        "check_sample_weight_equivalence_on_dense_data": (
            "weights scale the loss of rows that are drawn in mini-batches"
        ),
    },
    VQVAE: {
        "check_sample_weight_equivalence_on_dense_data": (
            "weights scale the loss of rows that are drawn in mini-batches"
        ),
    },
    ClusterBoosting: {
        "check_sample_weight_equivalence_on_dense_data": (
            "k-means++ draws among other rows when rows are repeated, as in KMeans"
        ),
    },
}


@parametrize_with_checks(
    [
        small(),
        small(encoding="ordinal"),
        small(encoding="soft"),
        small(loss=Gaussian()),
        small(beam_size=2),
        small(early_stopping=True, validation_fraction=0.3),
        vqvae(),
        vqvae(encoding="soft", n_levels=2),
        vqvae(encoding="ordinal", codebook_weight=1.0, early_stopping=True),
        boosting(),
        boosting(encoding="onehot-dense"),
        boosting(encoding="soft"),
        boosting(beam_size=2, n_refits=1),
        boosting(subsample=20, shrinkage="auto"),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_FAILED_CHECKS[type(estimator)],
    xfail_strict=True,
)
def test_common_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("make", [small, vqvae, boosting])
@pytest.mark.parametrize("encoding", ["onehot", "onehot-dense", "ordinal", "soft"])
@pytest.mark.parametrize(
    "name",
    [
        "check_param_validation",
        "check_dataframe_column_names_consistency",
        "check_get_feature_names_out_error",
        "check_transformer_get_feature_names_out",
    ],
)
def test_checks_that_are_not_yielded(name, encoding, make):
    estimator = make(encoding=encoding)
    getattr(estimator_checks, name)(type(estimator).__name__, estimator)


@pytest.mark.parametrize("make", [small, vqvae, boosting])
@pytest.mark.parametrize("encoding", ["onehot-dense", "ordinal", "soft"])
@pytest.mark.parametrize(
    "name",
    [
        "check_transformer_get_feature_names_out_pandas",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_set_output_transform_polars",
        "check_global_output_transform_pandas",
        "check_global_set_output_transform_polars",
    ],
)
def test_data_frames_out(name, encoding, make):
    estimator = make(encoding=encoding)
    getattr(estimator_checks, name)(type(estimator).__name__, estimator)


# scikit-learn yields no checks of what takes strings, as of CountVectorizer: these need no data, or
# look only at what comes before them.
@pytest.mark.parametrize(
    "name",
    [
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_estimators_unfitted",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_param_validation",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_transformers_unfitted",
        "check_valid_tag_types",
    ],
)
def test_checks_of_what_takes_strings(name):
    getattr(estimator_checks, name)("CharacterTokenizer", CharacterTokenizer())
