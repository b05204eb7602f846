"""Images in, batches out: decoding, sources of labelled pictures, transforms and the data module."""
