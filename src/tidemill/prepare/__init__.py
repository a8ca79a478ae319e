"""Phase 1, data preparation: cleaning by reported steps, suspicious labels, and the queue where people review them."""
