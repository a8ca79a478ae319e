"""Phase 5, orchestration: steps that are cached by what they are made of, and the engines they run on."""
