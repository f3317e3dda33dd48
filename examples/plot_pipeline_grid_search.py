"""
===============================================
What to code, and how finely: ask a grid search
===============================================

Codes are a step of a pipeline like any other: beside other columns, before any classifier, with
their size in a grid. Here a linear classifier reads the bundled 8x8 digits from pixels, from codes
and from both. Both serve best: to a pixel a linear classifier gives one weight, to each kind of
image that an option stands for another one.
"""

import matplotlib.pyplot as plt
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.datasets import load_digits_images
from skvqdraw.refiners import MLPRefiner

# %%
# `ColumnTransformer` says which columns are coded. Here all of them are, and pass through as well.
digits = load_digits_images()
pixels = list(range(64))
columns = ColumnTransformer(
    [("codes", ClusterBoosting(random_state=0), pixels), ("pixels", "passthrough", pixels)]
)
pipeline = Pipeline([("columns", columns), ("classifier", LogisticRegression(max_iter=1000))])

# %%
# Four grids in one search. The second puts another estimator in the place of the first; the third
# keeps the codes as integers, which boosted trees take as categories; the fourth leaves them out.
# Nested names reach every parameter: ``columns__codes__refiner__hidden_size`` would too.
vq = VQDRAW(n_stages=2, refiner=MLPRefiner(hidden_size=64), max_steps=30, random_state=0)
trees = HistGradientBoostingClassifier(categorical_features=[0, 1], max_iter=10, random_state=0)
pixels_or_not = {"columns__pixels": ["drop", "passthrough"]}
sizes = {"columns__codes__n_stages": [1, 2, 4], "columns__codes__n_options": [4, 16, 64]}
grids = [
    {**sizes, **pixels_or_not},
    {"columns__codes": [vq], "columns__codes__n_options": [16, 64], **pixels_or_not},
    {
        "columns__codes__encoding": ["ordinal"],
        "columns__codes__n_stages": [2],
        "classifier": [trees],
        **pixels_or_not,
    },
    {"columns__codes": ["drop"]},
]
search = GridSearchCV(pipeline, grids, cv=3).fit(digits.data, digits.target)
scores = search.cv_results_["mean_test_score"]  # in the order of the grids, last name fastest
print(f"best: {search.best_score_:.3f} with {search.best_params_}")
print(f"boosted trees: codes {scores[22]:.3f}, codes and pixels {scores[23]:.3f}")

# %%
# All of them. At equal bits a linear classifier is better served by few stages of many options than
# by many stages of few: a single stage of 64 options, 6 bits, says as much as the 64 pixels.
n_options, of_boosting = sizes["columns__codes__n_options"], scores[:18].reshape(3, 3, 2)
figure, axes = plt.subplots(1, 2, figsize=(8, 4), sharey=True, layout="constrained")
for ax, title, p in zip(axes, ["codes", "codes and pixels"], [0, 1], strict=True):
    for s, n_stages in enumerate(sizes["columns__codes__n_stages"]):
        ax.plot(
            n_options, of_boosting[:, s, p], "o-", label=f"ClusterBoosting, n_stages={n_stages}"
        )
    ax.plot([16, 64], scores[18:22].reshape(2, 2)[:, p], "s--", label="VQDRAW, n_stages=2")
    ax.axhline(scores[-1], color="0.5", label="pixels alone")
    ax.set_xscale("log", base=2)
    ax.set(title=title, xlabel="options per stage", xticks=n_options, xticklabels=n_options)
    ax.set(ylabel="accuracy", ylim=(0.8, 0.96))
_ = axes[1].legend(loc="lower right")

# %%
# **Take away**: what to code and how finely is a question like any other about a pipeline, and the
# same search answers it. For a linear classifier, begin with many options rather than many stages.
