"""The tasks of this node: remembered on disk, walked up their ladder, given what they depend on."""
