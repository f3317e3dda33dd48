"""The organs of cluster boosting: k-means, beam search and the fit."""
