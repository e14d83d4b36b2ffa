"""The prediction: features, model, training, serving and evaluation."""
