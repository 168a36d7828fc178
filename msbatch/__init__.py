"""Leave-one-patient-out transfer learning on blood-cell images, from a folder of images to a table."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("msbatch")
except PackageNotFoundError:  # run from a checkout or from a run's frozen code
    __version__ = "0+unknown"
