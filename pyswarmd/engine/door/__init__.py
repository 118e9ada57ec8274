"""What every request passes: bodies, queries, filters, errors, what is not served."""
