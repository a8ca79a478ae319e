"""Phase 2, data management: versioned datasets, point-in-time joins."""
