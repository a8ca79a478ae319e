"""The registry's other half: names, descriptions, tags and stages of models, and who may move an alias."""
