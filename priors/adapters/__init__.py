"""Models of other packages as priors: any callable, denoisers of deepinv's kind, U-Nets of diffusers and MONAI.

None of those packages is imported; what counts is how their models are called and what these return.
"""
