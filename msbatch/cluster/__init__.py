"""From the tasks of a plan to processes that run them."""
