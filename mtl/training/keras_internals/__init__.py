"""Every private name of Keras and TensorFlow that the engine touches."""
