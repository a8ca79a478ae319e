"""Pipelines as files of other orchestrators: what they run is recorded, cached and traced as what runs here."""
