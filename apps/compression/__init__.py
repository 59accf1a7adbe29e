"""`apps.compress --target`: a trained model and a budget in, a compact trained model out."""
