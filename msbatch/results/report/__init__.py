"""The report of a run: one HTML file that needs nothing else, and the data of its figures as CSV."""
