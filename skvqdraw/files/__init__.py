"""Files: written whole or not at all, read with suspicion. Knows no estimator."""
