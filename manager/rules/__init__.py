"""Judgements that several loops share: values in, a value out."""
