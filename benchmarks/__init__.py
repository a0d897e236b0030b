"""Programs that measure Nocturne beside its peers, and experiments over seeds."""
