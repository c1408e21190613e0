"""Device memory of NVIDIA GPUs, by PyCUDA: CUDA source from Programs and op-trees, compiled, cached and launched."""
