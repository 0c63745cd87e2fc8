"""How good it is: a simulated annotator, peers, real cases, and the table that `pwseg benchmark` prints."""
