"""The command line. What holds for all of its commands stands here, since this is imported before any of them."""

import gc

# What is imported stays, and so do the some 100,000 objects that a large context is: looking for garbage among them
# time and again finds none.
gc.set_threshold(100_000, 50, 50)
