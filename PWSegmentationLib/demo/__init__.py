"""`pwseg demo`: a real chest CT, six structures, one page to look at."""
