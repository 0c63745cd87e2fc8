"""Looking at segments before they are handed over: measures, flags, status, changes, a work list, reports."""
