"""Phase 3, experiment tracking: the user's own runs, and comparing any of them."""
