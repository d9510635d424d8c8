"""Image priors behind one interface. Empty in this version: see docs/design.md for what will live here."""

if __name__ == "priors":
    raise ImportError("priors/ is installed as mrrecon.priors; write: from mrrecon import priors")

__all__: list[str] = []
