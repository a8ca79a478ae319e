"""Features by what was known when: the join in time for training, the look-up for serving."""
