"""The command ``pwseg``."""
