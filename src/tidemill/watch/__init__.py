"""Phase 7, monitoring: prediction logs, delayed truth, drift, performance, alerts."""
