"""
=====================================
Codes in pipelines and grid searches
=====================================

`VQDRAW` and `ClusterBoosting` are transformers like any other. Here some columns of a table become
codes, others stay as they are, and a grid search over the whole chain decides how many stages and
options serve a classifier best.

The table is scikit-learn's breast cancer data: ten measurements of cell nuclei, each as its mean,
its standard error and its worst value over an image. Half a minute.
"""

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.refiners import MLPRefiner

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
means = [name for name in X.columns if name.startswith("mean")]
others = [name for name in X.columns if name not in means]

# %%
# The ten means stay numbers; the other twenty columns become one code. Columns are in different
# units, so they are standardised first: the squared error of a code counts large numbers most.
coder = ClusterBoosting(random_state=0)
columns = make_column_transformer(
    (StandardScaler(), means), (make_pipeline(StandardScaler(), coder), others)
)
model = make_pipeline(columns, LogisticRegression(max_iter=1000))

# %%
# Parameters of the step inside the step have their names joined by two underscores, and the step
# itself may be exchanged. Codes are learned anew for each fold, from its training rows only.
step = "columntransformer__pipeline__clusterboosting"
network = VQDRAW(refiner=MLPRefiner(hidden_size=32), max_steps=100, random_state=0)
sizes = {f"{step}__n_stages": [1, 3], f"{step}__n_options": [2, 8, 32]}
grid = [sizes, {step: [network], f"{step}__n_stages": [3], f"{step}__n_options": [8]}]
search = GridSearchCV(model, grid, cv=3).fit(X, y)

results = pd.DataFrame(search.cv_results_)
results.columns = [name.removeprefix(f"param_{step}").strip("_") for name in results.columns]
print(results[["n_stages", "n_options", "mean_test_score", "std_test_score"]].to_string())
print(f"best: {search.best_params_[f'{step}__n_stages']} stages of", end=" ")
print(
    f"{search.best_params_[f'{step}__n_options']}; test accuracy {search.score(X_test, y_test):.3f}"
)

# %%
# What would the same classifier make of all thirty numbers, and of the ten means alone?
plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
scores = {
    "30 numbers": cross_val_score(plain, X, y, cv=3),
    "10 means": cross_val_score(plain, X[means], y, cv=3),
}
for row in results.sort_values("mean_test_score").itertuples():
    name = f"means + code {row.n_stages} x {row.n_options}"
    name += " of VQDRAW" if row.Index == len(results) - 1 else ""
    scores[name] = [getattr(row, f"split{fold}_test_score") for fold in range(3)]

_, ax = plt.subplots(figsize=(6.5, 3.5), layout="constrained")
ax.boxplot(list(scores.values()), orientation="horizontal", tick_labels=list(scores))
ax.set_xlabel("accuracy on three folds")

# %%
# The names of the features say which stage and option they are of.
print(search.best_estimator_[0].get_feature_names_out()[[0, 9, 10, 11]])

# %%
# **Take away**: everything that scikit-learn does with a transformer works with codes. Five bits in
# place of twenty columns win back about half of what these add to the ten means; on 398 rows more
# bits are not better, and a network has too little to learn from.
