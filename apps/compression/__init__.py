"""`apps.compress --target`: a trained model and a budget in, a smaller trained model out."""
