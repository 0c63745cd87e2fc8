"""How good it is: metrics, peers, real cases, and the table that `pwseg benchmark` prints."""
