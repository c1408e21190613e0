"""Host memory: tensors shared with NumPy, and the engines that run Programs on them."""
