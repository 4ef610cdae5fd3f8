"""The runtimes that an encoder and a head can run on, behind one contract."""
