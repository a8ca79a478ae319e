"""Traces: what programs send of their calls, as trees of spans, read, kept, judged and searched."""
