"""The engine of this host: containers from create to removal, their records and what they wrote."""
