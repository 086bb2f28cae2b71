"""All uses of private names of Keras and TensorFlow in the engine."""
