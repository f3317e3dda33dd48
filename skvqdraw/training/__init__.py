"""Training by gradients, of any estimator: its part is a `Task`."""
