"""Images to train and test on: the embedded photographs, folders, and degraded/clean pairs drawn from them."""
