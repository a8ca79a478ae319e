"""What a model is worth: scores with intervals, by slice and group; cards."""
