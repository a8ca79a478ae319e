"""Phase 4, training: fits and searches as recorded runs, scores, slices, paired comparisons, model cards."""
