"""Map the repository's top-level rooms into one installed package (metadata is in pyproject.toml).

``operators/`` and ``priors/`` are installed as ``mrrecon.operators`` and ``mrrecon.priors``.
"""

from setuptools import find_packages, setup

MOUNTED = ("operators", "priors")

packages = find_packages(include=["mrrecon", "mrrecon.*"])
for room in MOUNTED:
    packages += [f"mrrecon.{room}", *(f"mrrecon.{room}.{sub}" for sub in find_packages(room))]

setup(
    packages=packages,
    package_dir={"mrrecon": "mrrecon", **{f"mrrecon.{room}": room for room in MOUNTED}},
    package_data={
        "": ["*.pyi"],
        "mrrecon": ["py.typed"],
        "mrrecon.operators": ["kernels/*.cu"],
        "mrrecon.priors": ["zoo/*/config.json", "zoo/*/model.safetensors", "zoo/*/README.md"],
    },
)
