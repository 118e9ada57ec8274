"""What several rooms must judge alike: values in, a value out, or a change within a transaction."""
