"""The torch modules. Importing this package registers them with the Auto classes."""
