"""The embedded engine: plain files in a directory of this machine. No master, no chunkservers."""
