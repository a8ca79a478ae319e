"""Stores: bytes by digest in a folder, in memory, in S3. A new one is one file here, or a plugin."""
