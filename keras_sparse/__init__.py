"""Train sparse networks in Keras, cut out what died, and ship what is left."""

__version__ = "0.1.0"
