"""From a trained model to a file of the model contract: calibration, uncertainty, ONNX graph, proof, metadata."""
