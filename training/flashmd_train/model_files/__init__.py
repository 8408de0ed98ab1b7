"""Model files: the contract, ONNX graphs of modules and their proof, and the weights back from a file."""
