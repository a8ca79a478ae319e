"""How rows come in and go out: sources, streamed imports, exports."""
