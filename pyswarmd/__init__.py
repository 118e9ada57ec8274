"""The process: daemon, command line, Engine API, lab."""
