"""An emulated CUDA driver: lets unmodified PyCUDA run kernels on a machine without a GPU. See README.md."""
