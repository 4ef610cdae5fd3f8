"""Devices in processes of their own: a worker holds one backend, the front does all the rest.

A worker that dies costs its batch alone. Between front and worker runs a ZeroMQ pair over a local
socket, whose frames are a JSON header and plain arrays.
"""
