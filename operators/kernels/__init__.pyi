from .choice import encoding_kernels as encoding_kernels
