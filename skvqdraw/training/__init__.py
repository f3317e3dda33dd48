"""The training side: batches, schedule, loop. Knows networks, not estimators."""
