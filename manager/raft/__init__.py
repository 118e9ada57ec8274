"""The replicated log: PySyncObj, hardened, behind the Proposer protocol."""
