"""Pictures of volumes, segments and prompts, for reports (needs the extra ``demo`` or ``benchmark``)."""
