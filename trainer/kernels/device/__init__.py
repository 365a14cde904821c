"""What Theano lacks on devices: one text for OpenCL and CUDA, compiled and launched by libgpuarray."""
