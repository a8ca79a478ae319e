"""Phase 8, improvement: rebuild, compare on the same rows, let a challenger prove itself, promote or roll back."""
