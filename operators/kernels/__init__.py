"""CUDA and CPU inner loops of the operators, each beside a plain reference."""
