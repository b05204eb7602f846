"""Deformable attention of large maps on CPUs, some keys at a time.

The displacements of one key and all queries are a grid, too, so that its bias is a piece of its table: no pair is
looked up alone, and what is made on the way stays in the cache.
"""
