"""`apps.compress --target`: compresses a trained model to a budget."""
